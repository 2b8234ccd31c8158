"""`matrix_train evaluate`: a folder of videos judged one by one, resumable, its results in files.

E/judged/<video_id>.json      answers and checks of one video, or why it could not be judged: what a run goes on from
E/questions/…, E/question_verification.json, E/_emergence_disappearance.json, E/combined_scores_summary.json
                              the authors' files (files.py)
E/scores.json                 means with intervals, what was judged, by whom, at what cost
E/report.html                 the same to look at, video by video (page.py)
E/strips/<video>.jpg          decisive frames (generated videos, `generated.py`)
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from matrix_train.errors import UserError
from matrix_train.evaluate import files, judge_truth
from matrix_train.evaluate.footage import MEASURES, Measures, watch
from matrix_train.evaluate.page import Sheet, write_page
from matrix_train.evaluate.protocol import Prompt, match_videos
from matrix_train.evaluate.questions import digest_of
from matrix_train.evaluate.scores import SCORES, Answer, FrameCheck, Judged, VideoScores
from matrix_train.files import file_sha256, write_json
from schemas.base import Record
from schemas.truth import VideoTruth
from schemas.usage import Usage

SCORES_FILE = "scores.json"
DRAWS = 2000
"""Bootstrap samples behind an interval."""


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
    folder that does not fit the truth, and for an `out` of another judge.
    """
    there = truth_files(world)
    prompts = {}
    for path in there:
        truth = read_truth(path)
        if truth.expect in ("accept", "filtered") and truth.triplets:  # broken files show other than their truth says
            prompts[path] = judge_truth.prompt_of(truth)
    if not prompts:
        raise UserError(f"no truth below {world} states an interaction: there is nothing to ask")
    match_videos(videos, list(prompts.values()), others=[path.stem for path in there])
    rows = []
    for path, prompt in prompts.items():
        about = made_of(prompt, videos / prompt.video, path)
        row = kept_row(out, prompt.video, judge_truth.JUDGE, about)
        if row is None:
            row = _judge_true(videos / prompt.video, path, about)  # one truth at a time: their masks are large
            write_json(row_file(out, prompt.video), row)
        rows.append(row)
    return publish(out, list(prompts.values()), rows, len(there) - len(prompts), {})


def _judge_true(video: Path, path: Path, about: str) -> Row:
    truth = read_truth(path)
    try:
        footage = watch(video)
        if footage.count != truth.frames:
            raise ValueError(f"{footage.count} frames, its truth has {truth.frames}")
        judged = judge_truth.judge(truth, truth)
    except ValueError as error:
        return Row(video=truth.video, judge=judge_truth.JUDGE, made_of=about, failed=str(error))
    return Row(
        video=truth.video, judge=judge_truth.JUDGE, made_of=about, frames=tuple(footage.chosen),
        answers=judged.answers, checks=judged.checks, measures=footage.measures,
    )  # fmt: skip


def truth_files(world: Path) -> list[Path]:
    """UserError where there is none."""
    if found := sorted((world / "truth").glob("*.json")):
        return found
    raise UserError(f"no truth below {world}: render a world with `python -m tasks.world --out {world}` first")


def read_truth(path: Path) -> VideoTruth:
    """UserError for one that is damaged."""
    try:
        return VideoTruth.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} is no truth of this version: render the world again") from None


def made_of(prompt: Prompt, *sources: Path) -> str:
    """Digest of what is asked and of the content of the files that it is answered from."""
    digest = hashlib.sha256(digest_of(prompt).encode())
    for path in sources:
        # A file that is not there, or cannot be read, fails the video when it is judged.
        digest.update(file_sha256(path).encode() if path.is_file() else b"-")
    return digest.hexdigest()[:16]


def kept_row(out: Path, video: str, judge: str, about: str) -> Row | None:
    """What an earlier run found by the same judge and of the same (`made_of`); None where there is nothing, it failed,
    or anything has changed since. UserError where another judge did: two judges' answers are not one result."""
    path = row_file(out, video)
    if not path.exists():
        return None
    try:
        row = Row.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} is damaged, or of another version: delete it, or give a new --out") from None
    if row.judge != judge:
        raise UserError(f"{path} is by the judge {row.judge!r}, this one is {judge!r}: give a new --out")
    return None if row.failed or row.made_of != about else row


def publish(
    out: Path, prompts: Sequence[Prompt], rows: Sequence[Row], without: int, more: dict[str, Any]
) -> dict[str, Any]:
    """Write the authors' files and `scores.json`, whose content is returned; `more` goes into it too. UserError where
    no video was judged."""
    good = [(p, row, row.scores) for p, row in zip(prompts, rows, strict=True) if not row.failed]
    failed = {row.video: row.failed for row in rows if row.failed}
    if not good:
        raise UserError(f"none of {len(rows)} videos could be judged; the first: {rows[0].video}: {rows[0].failed}")
    files.write_questions(out, [p for p, _, _ in good])
    verified = [files.verified_video(p, row.answers, row.frames, row.judge) for p, row, _ in good]
    write_json(out / files.VERIFICATION_FILE, verified)
    checks = [files.persistence_video(p, row.checks, row.judge) for p, row, _ in good]
    write_json(out / files.PERSISTENCE_FILE, checks)
    table = {p.video_id: (p.prompt, scores) for p, _, scores in good}
    write_json(out / files.COMBINED_FILE, files.summary(out.name, "all", table))
    seen = [row.measures for _, row, _ in good if row.measures]
    measured = {name: [getattr(one, name) for one in seen] for name in MEASURES}
    found = {
        "judge": rows[0].judge,
        "videos": len(good),
        "not_asked": without,
        "failed": failed,
        "means": {name: mean_of([getattr(scores, name) for _, _, scores in good]) for name in SCORES},
        "measures": {name: mean_of(values) for name, values in measured.items() if values},
        "cost": cost_of(rows),
        "asked": {p.video: digest_of(p) for p, _, _ in good},
        "by_video": {p.video: {name: getattr(scores, name) for name in SCORES} for p, _, scores in good},
    } | more
    write_json(out / SCORES_FILE, found)
    write_page(out, found, [Sheet(p, row.answers, row.checks, row.shown, scores) for p, row, scores in good])
    return found


def cost_of(rows: Sequence[Row]) -> dict[str, float]:
    """What judging took, of failed videos too; seconds are of each video, several of which go on at a time."""
    usage = sum((row.usage for row in rows), Usage())
    return {
        "requests": usage.requests, "cached_requests": usage.cached_requests, "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens, "price": usage.cost,
        "seconds": sum(row.seconds for row in rows),
    }  # fmt: skip


def mean_of(values: Sequence[float]) -> dict[str, float]:
    """Mean with its 95 % percentile bootstrap interval over the values; seeded, so that it is the same each time."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), size=(DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high)}


def row_file(out: Path, video: str) -> Path:
    return out / "judged" / f"{video}.json"
