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
from matrix_train.analyze.summary import Summary
from matrix_train.attention.roles import Family
from matrix_train.files import whole

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPT = "report.html.j2", "report.css", "report.js"
SPLIT = "<!-- clips -->"

TITLES = {
    "noun.v2t": "nouns, video to text: grounding", "verb.v2t": "verbs, video to text: grounding",
    "noun.v2v": "nouns, video to video: propagation", "verb.v2v": "verbs, video to video: propagation",
}  # fmt: skip


def write_report(
    path: Path, summary: Summary, made_of: Mapping[str, Any], timesteps: NDArray[np.float32], shown: Iterable[Shown]
) -> None:
    """Clips go into the file one by one, so that memory does not grow with their number. Whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    family: dict[str, Family] = {kind: name for name, kind in FAMILY_KIND.items()}
    panels = []
    for variant in VARIANTS:
        own, told = summary.found[variant], summary.between[variant]
        chosen = summary.chosen[family[variant.split(".")[1]]].blocks
        known = bool(np.isfinite(summary.heat[variant]).any())
        left_out = summary.dummies if variant.endswith("v2t") else ()
        panels.append({
            "title": TITLES[variant], "known": known,
            "influential": own.influential, "dominant": told and told.dominant,
            "scatter": figures.scatter(own, chosen, left_out, summary.counts[variant]),
            "heat": figures.heat(summary.heat[variant], timesteps),
            "bars": figures.bars(told, chosen) if told else "",
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
