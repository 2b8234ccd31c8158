"""`matrix_train evaluate`: a folder of videos judged one by one, resumable, its results in files.

E/judged/<video_id>.json      answers and checks of one video, or why it could not be judged: what a run goes on from
E/questions/…, E/question_verification.json, E/_emergence_disappearance.json, E/combined_scores_summary.json
                              the authors' files (exchange/authors.py)
E/scores.json                 means with intervals, what was judged, by whom, at what cost
E/report.html                 the same to look at, video by video (page.py)
E/strips/<video>.jpg          decisive frames (seen/strip.py)
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from matrix_train.errors import UserError
from matrix_train.evaluate.checked.bias import Bias, corrected
from matrix_train.evaluate.exchange import authors, vbench
from matrix_train.evaluate.judge import by_truth
from matrix_train.evaluate.judge.casting import UNDECIDED
from matrix_train.evaluate.page import Sheet, write_page
from matrix_train.evaluate.protocol.prompt import Prompt, match_videos
from matrix_train.evaluate.protocol.questions import VERSION
from matrix_train.evaluate.protocol.scores import SCORES, Answer, FrameCheck, Judged, VideoScores
from matrix_train.evaluate.seen.footage import Measures, watch
from matrix_train.evaluate.seen.strip import show
from matrix_train.files import file_sha256, write_json, write_list
from schemas.base import Record
from schemas.truth import VideoTruth
from schemas.usage import Usage

SCORES_FILE = "scores.json"
DRAWS = 2000
"""Bootstrap samples behind an interval."""

_NUMBERS = 500_000
"""Drawn at a time: memory stays flat however many videos there are."""


class NoneJudged(UserError):
    """Of a folder of videos."""


class Row(Record):
    """What became of one video."""

    video: str
    judge: str
    made_of: str
    """What the answers are about, and come from beside the judge (`made_of`)."""
    frames: tuple[int, ...] = ()
    answers: tuple[tuple[Answer, ...], ...] = ()
    checks: tuple[FrameCheck, ...] = ()
    failed: str | None = None
    measures: Measures | None = None
    shown: tuple[int, ...] = ()
    """Frames of the strip."""
    usage: Usage = Usage()
    seconds: float = 0.0

    @property
    def scores(self) -> VideoScores:
        return Judged(self.answers, self.checks).scores


def evaluate_world(videos: Path, world: Path, out: Path) -> dict[str, Any]:
    """The videos of a rendered world judged by their truth; the result as `scores.json` has it.

    Broken files and those without an interaction have no questions and are left out, and counted. UserError for a
    folder that does not fit the truth, and for an `out` of another judge or of nobody's run.
    """
    authors.check_place(out)
    there = truth_files(world)
    prompts = {}
    for path in there:
        truth = read_truth(path)
        if truth.expect in ("accept", "filtered") and truth.triplets:  # broken files show other than their truth says
            prompts[path] = by_truth.prompt_of(truth)
    if not prompts:
        raise UserError(f"no truth below {world} states an interaction: there is nothing to ask")
    match_videos(videos, list(prompts.values()), others=[path.stem for path in there])
    for path, prompt in prompts.items():
        about = made_of(prompt, videos / prompt.video, path)
        if not is_kept(out, prompt.video, by_truth.JUDGE, about):
            row = _judge_true(videos, world, path, about, out)  # one truth at a time: their masks are large
            keep_row(out, row)
    return publish(out, list(prompts.values()), by_truth.JUDGE, len(there) - len(prompts))


def _judge_true(videos: Path, world: Path, path: Path, about: str, out: Path) -> Row:
    """A truth is of one video alone: of another nothing is known, whatever its name and length."""
    truth = read_truth(path)
    video, raw = videos / truth.video, world / "raw" / truth.video
    try:
        if not _same(video, raw):
            raise ValueError(f"is not {raw}, which the truth is of: judge it by --judge tracks or vlm")
        footage = watch(video)
        if footage.count != truth.frames:
            raise ValueError(f"{footage.count} frames, its truth has {truth.frames}")
        if (own := (footage.width, footage.height)) != (truth.width, truth.height):
            raise ValueError(f"{own[0]} x {own[1]} pixels, its truth has {truth.width} x {truth.height}")
        judged = by_truth.judge(truth, truth)
    except ValueError as error:
        return Row(video=truth.video, judge=by_truth.JUDGE, made_of=about, failed=str(error))
    return Row(
        video=truth.video, judge=by_truth.JUDGE, made_of=about, frames=tuple(footage.chosen),
        answers=judged.answers, checks=judged.checks, measures=footage.measures,
        shown=show(out, by_truth.prompt_of(truth), footage, {i.id: i.masks for i in truth.instances}, judged),
    )  # fmt: skip


def _same(video: Path, raw: Path) -> bool:
    """Whether a video is the rendered one, where that is still there. ValueError where one cannot be read."""
    try:
        return not raw.is_file() or video.samefile(raw) or file_sha256(video) == file_sha256(raw)
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}") from None


def truth_files(world: Path) -> list[Path]:
    """UserError where there is none."""
    if found := sorted((world / "truth").glob("*.json")):
        return found
    raise UserError(
        f"no truth below {world}: give the folder that holds raw/ and truth/, or render one with "
        f"`python -m tasks.world --out {world}`"
    )


def read_truth(path: Path) -> VideoTruth:
    """UserError for one that is damaged."""
    try:
        return VideoTruth.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} is no truth of this version: render the world again") from None


def made_of(prompt: Prompt, *sources: Path) -> str:
    """Digest of what is asked and of the content of the files that it is answered from."""
    digest = hashlib.sha256(f"{VERSION}\n{prompt.model_dump_json(exclude={'tracks', 'idmap'})}".encode())
    for path in sources:
        try:
            known = file_sha256(path) if path.is_file() else "-"
        except OSError:
            known = "-"  # what is not there, or cannot be read, fails the video when it is judged
        digest.update(known.encode())
    return digest.hexdigest()[:16]


def is_kept(out: Path, video: str, judge: str, about: str) -> bool:
    """Whether an earlier run has judged the same (`made_of`). UserError as for `kept_row`."""
    row = kept_row(out, video, judge)
    return row is not None and row.failed is None and row.made_of == about


def kept_row(out: Path, video: str, judge: str) -> Row | None:
    """What there is of a video. UserError where another judge said it: two judges' answers are not one result."""
    path = row_file(out, video)
    if not path.exists():
        return None
    try:
        row = Row.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} is damaged, or of another version: delete it, or give a new --out") from None
    if row.judge != judge:
        raise UserError(f"{path} is by the judge {row.judge!r}, this one is {judge!r}: give a new --out")
    return row


def keep_row(out: Path, row: Row) -> None:
    """What came of a video. Where it was judged before, of something else, the result of then goes: should this run not
    come to its end, nobody takes that for its own."""
    before = kept_row(out, row.video, row.judge)
    if before is not None and before.failed is None:
        (out / SCORES_FILE).unlink(missing_ok=True)
    write_json(row_file(out, row.video), row)


def publish(
    out: Path,
    prompts: Sequence[Prompt],
    judge: str,
    without: int = 0,
    more: Mapping[str, Any] | None = None,
    bias: Bias | None = None,
) -> dict[str, Any]:
    """Write the authors' files, the page and `scores.json`, whose content is returned, from the rows of all prompts.

    A row is read when it is its turn, so that memory does not grow with the answers of thousands of videos. more: goes
    into `scores.json` too. bias: of the judge, for a corrected score beside the raw one. NoneJudged.
    """
    authors.write_questions(out, prompts)
    sums = _Sums()
    for _, row in _rows(out, prompts, judge):
        sums.add(row, bias)
    good = [prompt for prompt in prompts if prompt.video in sums.scores]
    if not good:
        video, why = next(iter(sums.failed.items()))
        raise NoneJudged(f"none of {len(prompts)} videos could be judged; the first: {video}: {why}")
    verified = (authors.verified_video(p, row.answers, row.frames, judge) for p, row in _rows(out, good, judge))
    write_list(out / authors.VERIFICATION_FILE, verified)
    checked = (authors.persistence_video(p, row.checks, judge) for p, row in _rows(out, good, judge))
    write_list(out / authors.PERSISTENCE_FILE, checked)
    table = {p.video_id: (p.prompt, sums.scores[p.video]) for p in good}
    vbench.write_prompts(out, prompts)
    write_json(out / authors.COMBINED_FILE, authors.summary(out.name, "all", table))
    found = {
        "judge": judge,
        "videos": len(good),
        "not_asked": without,
        "failed": sums.failed,
        "undecided": sum(why.startswith(UNDECIDED) for why in sums.failed.values()),
        "means": {name: mean_of([getattr(scores, name) for scores in sums.scores.values()]) for name in SCORES},
        "corrected": {name: mean_of(values) for name, values in sums.corrected.items()},
        "bias": {},
        "vbench": {},
        "measures": {name: mean_of(values) for name, values in sums.measures.items()},
        "cost": sums.cost,
        "prompts": {p.video: authors.digest(authors.questions_file(p)) for p in good},
        "by_video": {video: {name: getattr(one, name) for name in SCORES} for video, one in sums.scores.items()},
    } | dict(more or {})
    write_json(out / SCORES_FILE, found)
    by_score = sorted(good, key=lambda p: (sums.scores[p.video].if_score, p.video))
    shown = _rows(out, by_score, judge)
    write_page(out, found, (Sheet.of(p, row.answers, row.checks, row.shown, sums.scores[p.video]) for p, row in shown))
    return found


def _rows(out: Path, prompts: Sequence[Prompt], judge: str) -> Iterator[tuple[Prompt, Row]]:
    """Of prompts whose videos have been judged, one row at a time."""
    for prompt in prompts:
        row = kept_row(out, prompt.video, judge)
        assert row is not None
        yield prompt, row


class _Sums:
    """What is kept of every row."""

    def __init__(self) -> None:
        self.scores: dict[str, VideoScores] = {}
        self.failed: dict[str, str] = {}
        self.corrected: dict[str, list[float]] = defaultdict(list)
        self.measures: dict[str, list[float]] = defaultdict(list)
        self.usage, self.seconds = Usage(), 0.0

    def add(self, row: Row, bias: Bias | None) -> None:
        self.usage, self.seconds = self.usage + row.usage, self.seconds + row.seconds
        if row.failed:
            self.failed[row.video] = row.failed
            return
        self.scores[row.video] = row.scores
        right = corrected(Judged(row.answers, row.checks), bias) if bias else None
        for name, value in (right or {}).items():
            self.corrected[name].append(value)
        for name, value in (row.measures.model_dump() if row.measures else {}).items():
            self.measures[name].append(value)

    @property
    def cost(self) -> dict[str, float]:
        """What judging took, of failed videos too; seconds are of each video, several of which go on at a time."""
        usage = self.usage
        return {
            "requests": usage.requests, "cached_requests": usage.cached_requests, "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens, "price": usage.cost, "seconds": self.seconds,
        }  # fmt: skip


def mean_of(values: Sequence[float]) -> dict[str, float]:
    """Mean with its 95 % percentile bootstrap interval over the values; seeded, so that it is the same each time."""
    dice, given = np.random.default_rng(0), np.asarray(values)
    at_once = max(1, _NUMBERS // len(given))
    parts = (min(at_once, DRAWS - done) for done in range(0, DRAWS, at_once))
    drawn = np.concatenate([dice.choice(given, size=(count, len(given))).mean(axis=1) for count in parts])
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high)}


def row_file(out: Path, video: str) -> Path:
    return out / authors.JUDGED_FOLDER / f"{video}.json"
