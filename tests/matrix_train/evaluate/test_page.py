"""`report.html`: every video's answers stand there, what a prompt says is text, pictures are links to the strips."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from matrix_train.evaluate.judge.by_truth import judge, prompt_of
from matrix_train.evaluate.page import PAGE_FILE, Sheet, compared_part, write_compared, write_page
from matrix_train.evaluate.protocol.scores import SCORES
from matrix_train.evaluate.run import mean_of
from matrix_train.evaluate.seen.strip import write_strip
from tests.matrix_train.evaluate.made_up import pushed

HOSTILE = '<script>alert(1)</script> & a "quoted" man\'s <b>box</b>'


def sheet(video: str, **changes: object) -> Sheet:
    truth = pushed()
    judged = judge(truth, truth)
    prompt = prompt_of(truth).model_copy(update={"video": video, **changes})
    return Sheet.of(prompt, judged.answers, judged.checks, (0, 3), judged.scores)


def found(sheets: list[Sheet]) -> dict:
    means = {name: mean_of([getattr(one.scores, name) for one in sheets]) for name in SCORES}
    return {
        "judge": "truth <1>", "videos": len(sheets), "not_asked": 0, "failed": {"lost.mp4": "<i>no frame</i>"},
        "undecided": 0, "means": means, "corrected": {}, "measures": {}, "bias": {}, "vbench": {},
        "cost": {"requests": 2},
        "by_video": {one.video: {name: getattr(one.scores, name) for name in SCORES} for one in sheets},
    }  # fmt: skip


def test_what_others_wrote_is_text_and_every_answer_is_there(tmp_path: Path):
    sheets = [sheet("a b#1.mp4", prompt=HOSTILE), sheet("c.mp4")]
    write_strip(tmp_path, "a b#1.mp4", {0: np.zeros((64, 96, 3), np.uint8), 3: np.zeros((64, 96, 3), np.uint8)})
    write_page(tmp_path, found(sheets), sheets)
    text = (tmp_path / PAGE_FILE).read_text(encoding="utf-8")
    assert "<script" not in text and "<i>" not in text and "<b>box" not in text
    assert unescape(re.search(r"</b> (.*?)<span>", text)[1]) == HOSTILE
    answers = sum(len(said) for one in sheets for _, _, said in one.acts)
    assert len(re.findall(r"<td>Q\d+</td>", text)) == answers > 0
    assert re.findall(r'<img src="([^"]+)"', text) == ["strips/a%20b%231.mp4.jpg"]  # c.mp4 has no strip
    assert sorted(path.name for path in tmp_path.iterdir()) == [PAGE_FILE, "strips"]


@pytest.mark.parametrize(("high", "wide", "size"), [(8, 4000, (400, 1)), (4000, 8, (2, 400)), (64, 96, (400, 133))])
def test_a_strip_of_any_shape_can_be_drawn(tmp_path: Path, high: int, wide: int, size: tuple[int, int]):
    write_strip(tmp_path, "a.mp4", dict.fromkeys((0, 5), np.zeros((high, wide, 3), np.uint8)))
    with Image.open(tmp_path / "strips" / "a.mp4.jpg") as strip:
        assert strip.size == size


def test_a_comparison_shows_the_videos_that_differ_most_first(tmp_path: Path):
    base = {video: dict.fromkeys(SCORES, 0.5) for video in ("a.mp4", "b.mp4")}
    names = {"a.mp4": "a.mp4", "b.mp4": "b.webm"}
    own = {"a.mp4": dict.fromkeys(SCORES, 0.6), "b.mp4": dict.fromkeys(SCORES, 0.1)}
    runs = tmp_path / "e1", tmp_path / "e2"
    for run in runs:
        write_strip(run, "b.mp4" if run == runs[0] else "b.webm", {0: np.zeros((64, 96, 3), np.uint8)})
    gains = {name: mean_of([0.1, -0.4]) for name in SCORES}
    difference = {"run": str(runs[1]), "minus": str(runs[0]), "paired": 2, "unpaired": 1, "renamed": 1,
                  "other_prompt": 0} | gains  # fmt: skip
    out = tmp_path / "c"
    models = [
        {"run": str(run), "name": run.name, "videos": 2, "failed": 0, "undecided": 0, "means": gains, "corrected": {},
         "measures": {}, "vbench": {}, "warnings": ["Q7: <i>yes</i>"]}
        for run in runs
    ]  # fmt: skip
    write_compared(
        out,
        {"judge": "truth", "models": models, "agreement": {"true": {"lines": ["Q1 & Q2"]}}},
        [compared_part(out, difference, base, own, names)],
    )
    text = (out / PAGE_FILE).read_text(encoding="utf-8")
    assert text.count("Q7: &lt;i&gt;yes") == 2 and "Q1 &amp; Q2" in text
    assert re.findall(r"<summary><b>(.*?)</b>", text) == ["b.mp4", "a.mp4"]
    assert re.findall(r'<img src="([^"]+)"', text) == ["../e1/strips/b.mp4.jpg", "../e2/strips/b.webm.jpg"]
    assert re.findall(r'<a href="([^"]+)"', text) == ["../e1/report.html", "../e2/report.html"]
