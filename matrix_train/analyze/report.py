"""`report.html`: the paper's figures of an analysis, and every clip's attention to play. One file, nothing fetched."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from matrix_train.analyze import figures
from matrix_train.analyze.ranking import VARIANTS
from matrix_train.analyze.shown import FAMILY_KIND, Shown
from matrix_train.analyze.summary import TITLES, Summary
from matrix_train.attention.roles import Family
from matrix_train.files import whole

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPT = "report.html.j2", "report.css", "report.js"
SPLIT = "<!-- clips -->"

DOES = {"v2t": "grounding", "v2v": "propagation"}


def write_report(
    path: Path, summary: Summary, made_of: Mapping[str, Any], timesteps: NDArray[np.float32], shown: Iterable[Shown]
) -> None:
    """Clips go into the file one by one, so that memory does not grow with their number. Whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    family: dict[str, Family] = {kind: name for name, kind in FAMILY_KIND.items()}
    most = {str(kind): _most(summary, kind) for kind in FAMILY_KIND.values()}
    panels = []
    for variant in VARIANTS:
        own, told, kind = summary.found[variant], summary.between[variant], variant.split(".")[1]
        chosen = summary.chosen[family[kind]].blocks
        known = bool(np.isfinite(summary.heat[variant]).any())
        left_out = summary.dummies if variant.endswith("v2t") else ()
        panels.append({
            "title": f"{TITLES[variant]}: {DOES[kind]}", "known": known,
            "influential": own.influential, "dominant": told and told.dominant,
            "scatter": figures.scatter(own, chosen, left_out, summary.counts[variant], most[kind]["magnitude"]),
            "heat": figures.heat(summary.heat[variant], timesteps, most[kind]["heat"]),
            "bars": figures.bars(told, chosen, most[kind]["gap"]) if told else "",
        })  # fmt: skip
    page = environment.get_template(TEMPLATE).render(
        style=(HERE / STYLE).read_text(encoding="utf-8"), script=(HERE / SCRIPT).read_text(encoding="utf-8"),
        summary=summary, made_of=made_of, panels=panels, split=SPLIT,
    )  # fmt: skip
    head, tail = page.split(SPLIT)
    with whole(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        file.write(head)
        for clip in shown:
            # Of JSON in a script element only this could end it.
            text = json.dumps(clip, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
            file.write(f'<script type="application/json" class="clip">{text}</script>\n')
        file.write(tail)


def _most(summary: Summary, kind: str) -> dict[str, float]:
    """The largest values of a kind: its nouns and verbs are shown on one scale. The two kinds are different sums."""
    own = [variant for variant in VARIANTS if variant.endswith(kind)]
    gaps = [told for variant in own if (told := summary.between[variant])]
    found: dict[str, list[NDArray[np.float64]]] = {
        "magnitude": [summary.found[variant].magnitude for variant in own],
        "heat": [summary.heat[variant] for variant in own],
        "gap": [np.abs(side) for told in gaps for side in (told.success, told.failure)],
    }
    return {name: max(float(np.nanmax(one, initial=0.0)) for one in [*parts, np.zeros(1)]) or 1.0
            for name, parts in found.items()}  # fmt: skip
