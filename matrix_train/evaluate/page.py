"""`report.html` of a run and of a comparison: scores with intervals, violins, and sheets of single videos.

Pictures are links to the runs' `strips/`, so that a page of thousands of videos stays small; nothing else is fetched.
"""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2

from matrix_train.evaluate.protocol.prompt import Prompt
from matrix_train.evaluate.protocol.questions import questions_of
from matrix_train.evaluate.protocol.scores import QUESTIONS, SCORES, YES, Answer, FrameCheck, VideoScores, ten_of
from matrix_train.evaluate.seen.strip import strip_file
from matrix_train.files import write_parts

PAGE_FILE = "report.html"
MOST_DIFFERENT = 20
"""Videos on the page of a comparison."""

TITLES = {
    "kisa": "KISA", "sgi": "SGI", "if_score": "IF", "kisa_raw": "KISA raw", "sgi_raw": "SGI raw", "spi": "SPI",
}  # fmt: skip
PAGES = Path(__file__).parent / "pages"


class Sheet(NamedTuple):
    """What is shown of one video."""

    video: str
    prompt: str
    acts: Sequence[tuple[str, Sequence[str], Sequence[Answer]]]
    """Of each key interaction what it is called, the questions in their order, and the answers."""
    checks: Sequence[FrameCheck]
    scores: VideoScores
    shown: Sequence[int] = ()

    @classmethod
    def of(
        cls, prompt: Prompt, answers: Sequence[Sequence[Answer]], checks: Sequence[FrameCheck], shown: Sequence[int],
        scores: VideoScores,
    ) -> "Sheet":  # fmt: skip
        acts = [
            (act.text, questions_of(prompt, act), said)
            for act, said in zip(prompt.interactions, answers, strict=True)
        ]  # fmt: skip
        return cls(prompt.video, prompt.prompt, acts, checks, scores, shown)


def write_page(out: Path, found: Mapping[str, Any], sheets: Iterable[Sheet]) -> None:
    """`E/report.html`. found: what `scores.json` holds. sheets: in the order in which they are to be shown; one is held
    at a time."""
    values = {name: [scores[name] for scores in found["by_video"].values()] for name in SCORES}
    shown = (_sheet(out, sheet) for sheet in sheets)
    write_html(out, "report", PAGES, found=found, titles=TITLES, violins=violins(values, "score"), sheets=shown)


def compared_part(
    out: Path,
    difference: Mapping[str, Any],
    before: Mapping[str, Mapping[str, float]],
    after: Mapping[str, Any],
    names: Mapping[str, str],
) -> dict[str, Any]:
    """What the page of a comparison shows of one run and the first: of the same videos, the scores of both, by their
    name in the first. names: by that one, the name in the run."""
    gains = {name: [after[video][name] - before[video][name] for video in before] for name in SCORES}
    apart = sorted(before, key=lambda video: (-abs(after[video]["if_score"] - before[video]["if_score"]), video))
    return {
        "difference": difference, "violins": violins(gains, "difference"),
        "videos": [
            {
                "video": video, "before": before[video]["if_score"], "after": after[video]["if_score"],
                "name": names[video],
                "strips": [
                    _link(out, Path(difference["minus"]), video), _link(out, Path(difference["run"]), names[video]),
                ],
            }
            for video in apart[:MOST_DIFFERENT]
        ],
    }  # fmt: skip


def write_compared(out: Path, found: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> None:
    """`C/report.html`. found: what `compared.json` holds; parts: of every later run."""
    links = [quote(Path(os.path.relpath(Path(model["run"]) / PAGE_FILE, out)).as_posix()) for model in found["models"]]
    write_html(out, "compared", PAGES, titles=TITLES, found=found, links=links, parts=parts)


def violins(values: Mapping[str, Sequence[float]], label: str) -> str:
    """Each score's spread over videos, with its mean and a dot a video, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": label, "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.subplots()
        for place, name in enumerate(values):
            if len(set(values[name])) > 1:
                axes.violinplot([list(values[name])], [place], showmeans=True, showextrema=False, widths=0.8)
            axes.scatter([place] * len(values[name]), values[name], s=9, color="#495057", alpha=0.4, linewidths=0)
        axes.set_xticks(range(len(values)), [TITLES[name] for name in values])
        axes.set_ylabel(label)
        axes.axhline(0, color="#868e96", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


def _sheet(out: Path, sheet: Sheet) -> dict[str, Any]:
    acts = [
        (text, [
            # Others may not have written down what they asked.
            {"text": question or "", "answer": one.answer, "frame": one.frame_index, "yes": one.answer == YES}
            for question, one in zip_longest(questions[: len(QUESTIONS)], ten_of(answers))
        ])
        for text, questions, answers in sheet.acts
    ]  # fmt: skip
    odd = [
        f"frame {check.frame_idx}: {what}{f', {why}' if why else ''}"
        for check in sheet.checks
        for told, what, why in (
            (check.emergence, "something emerged", check.emergence_reason),
            (check.disappearance, "something disappeared", check.disappearance_reason),
        )
        if told
    ]
    scores = {name: getattr(sheet.scores, name) for name in SCORES}
    return sheet._asdict() | {"scores": scores, "acts": acts, "odd": odd, "strip": _link(out, out, sheet.video)}


def _link(page: Path, run: Path, video: str) -> str | None:
    """To a video's strip, from the folder of the page."""
    path = strip_file(run, video)
    return quote(Path(os.path.relpath(path, page)).as_posix()) if path.exists() else None


def write_html(out: Path, template: str, pages: Path, **values: Any) -> None:
    """`out/report.html` of a template in `pages`, which may extend `layout.html.j2`. Whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([pages, PAGES]), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    write_parts(out / PAGE_FILE, environment.get_template(f"{template}.html.j2").generate(**values))
