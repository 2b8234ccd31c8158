"""Every video judged from its tracks, which are made without knowledge of the arm (decision 17).

F/asked/right.jsonl, wrong.jsonl    prompts of `matrix_train evaluate`, for the pair asked for and the other turn's
F/asked/NAME.idmap.png              what tracks begin with
F/judged/seedN/ARM.json             by name, what the judge said of the arm's videos, asked for either pair
F/judged/true.json                  likewise of what should be seen: how far the judge agrees with the truth
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.miniature.sample import asked_table, videos_of
from matrix_train.evaluate.checked import bias
from matrix_train.evaluate.judge import by_truth
from matrix_train.evaluate.judge.by_tracks import JUDGE, filmed, judge_tracks
from matrix_train.evaluate.protocol.prompt import Asked, Prompt, read_prompts
from matrix_train.evaluate.protocol.scores import YES, Answer, FrameCheck, VideoScores, video_scores
from matrix_train.evaluate.run import read_truth
from matrix_train.evaluate.seen.footage import watch
from matrix_train.evaluate.seen.masks import follow, read_guide
from matrix_train.files import file_sha256, write_whole
from matrix_train.sample.trackers import Trackers
from schemas.base import Record
from schemas.idmap import encode_id_map, id_map
from schemas.rle import fill, run_lengths
from schemas.truth import VideoTruth

RIGHT, WRONG = PAIRS = ("right", "wrong")
"""Of `asked.json`: who should do it, and who does it in the other turn."""


class Verdict(Record):
    """What became of one video."""

    answers: dict[str, tuple[Answer, ...]]
    """By pair; none where tracks do not say who acts."""
    checks: tuple[FrameCheck, ...] = ()
    undecided: str | None = None
    """Why there are no answers."""

    def does(self, pair: str) -> bool:
        """All that the ten questions ask of an act, and the other pair does not."""
        done = {p: all(a.answer == YES for a in answers) for p, answers in self.answers.items()}
        return bool(done) and done.pop(pair) and not any(done.values())

    @property
    def right(self) -> bool:
        return self.does(RIGHT)

    @property
    def turned(self) -> bool:
        """The pair of the other turn does it alone: who does not read the words is as often turned as right."""
        return self.does(WRONG)

    @property
    def scores(self) -> VideoScores | None:
        return None if self.undecided else video_scores([self.answers[RIGHT]], self.checks)

    @property
    def word(self) -> str:
        return "right" if self.right else "turned" if self.turned else "undecided" if self.undecided else "neither"


class Verdicts(Record):
    judge: str
    made_of: str | None = None
    """Digest of the videos' files. None where it was not kept yet."""
    videos: dict[str, Verdict]
    """By name, in the order of `asked.json`."""


def judge_arms(folder: Path, seed: int, arms: Sequence[str]) -> None:
    for arm in arms:
        _judge(folder, videos_of(folder, seed, arm), file_of(folder, seed, arm))
        found = verdicts(folder, seed, arm).values()
        print(
            f"{arm}, seed {seed}: of {len(found)} videos {sum(v.right for v in found)} right, "
            f"{sum(v.turned for v in found)} turned, {sum(bool(v.undecided) for v in found)} undecided", flush=True,
        )  # fmt: skip


def judge_true(folder: Path) -> None:
    _judge(folder, folder / "asked" / "videos", folder / "judged" / "true.json")


def one_judge(folder: Path, files: Sequence[Path]) -> None:
    """SystemExit where these, or what is said of what should be seen, are not all by one judge."""
    there = [folder / "judged" / "true.json", *files]
    first, *others = ((file.relative_to(folder), _read(file).judge) for file in there)
    for file, judge in others:
        if judge != first[1]:
            raise SystemExit(f"{first[0]} is by {first[1]!r}, {file} by {judge!r}: run --stage judge for all of them")


def verdicts(folder: Path, seed: int, arm: str) -> dict[str, Verdict]:
    return _read(file_of(folder, seed, arm)).videos


def agreement(folder: Path) -> dict[str, Any]:
    """Of the judge with the truth, on what should be seen: who acts, IF, and question by question, asked of both
    pairs."""
    found = _read(folder / "judged" / "true.json").videos
    known = bias.measure(pair for name, one in found.items() for pair in _known_and_said(folder / "asked", name, one))
    return {
        "videos": len(found),
        "right": sum(one.right for one in found.values()),
        "turned": sum(one.turned for one in found.values()),
        "undecided": {name: one.undecided for name, one in found.items() if one.undecided},
        "if": float(np.mean([one.scores.if_score for one in found.values() if one.scores])),
        "questions": {f"Q{q}": one.model_dump() for q, one in known.items()},
    }


def _judge(folder: Path, videos: Path, out: Path) -> None:
    """Nothing is done where this judge has been, and the videos are those that it saw, or are not here."""
    trackers, asked = Trackers(), folder / "asked"
    name, about = f"{JUDGE} {trackers.identity}", _digest(videos, asked_table(folder))
    if out.exists() and (kept := _read(out)).judge == name and (kept.made_of == about or not videos.exists()):
        return
    _write_prompts(asked)
    found = {}
    for prompts in zip(*(read_prompts(asked / f"{pair}.jsonl") for pair in PAIRS), strict=True):
        footage = watch(videos / prompts[0].video, whole=True)
        tracks = follow(read_guide(prompts[0], asked), footage, trackers)
        film = filmed(prompts[0], tracks, footage.height, footage.width, footage.fps)
        try:
            said = {pair: judge_tracks(prompt, film) for pair, prompt in zip(PAIRS, prompts, strict=True)}
        except ValueError as error:
            found[prompts[0].video_id] = Verdict(answers={}, undecided=str(error))
            continue
        answers = {pair: one.answers[0] for pair, one in said.items()}
        found[prompts[0].video_id] = Verdict(answers=answers, checks=said[RIGHT].checks)
    write_whole(out, Verdicts(judge=name, made_of=about, videos=found).model_dump_json() + "\n")


def _digest(videos: Path, names: Iterable[str]) -> str:
    """Of the videos' files; one that is not there fails when it is watched."""
    there = (videos / f"{name}.mp4" for name in names)
    told = "".join(file_sha256(path) if path.is_file() else "-" for path in there)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def file_of(folder: Path, seed: int, arm: str) -> Path:
    place = videos_of(folder, seed, arm).relative_to(folder / "videos")
    return folder / "judged" / place.with_name(f"{place.name}.json")


def _read(file: Path) -> Verdicts:
    if not file.exists():
        raise SystemExit(f"there is no {file}: run --stage judge first")
    return Verdicts.model_validate_json(file.read_bytes())


def _known_and_said(asked: Path, name: str, verdict: Verdict) -> Iterator[tuple[bias.Answers, bias.Answers]]:
    """By pair, where it is decided."""
    truth, table = _truth(asked, name), asked_table(asked.parent)
    for pair in verdict.answers:
        yield by_truth.judge(_of_pair(truth, table[name][pair]), truth).answers, (verdict.answers[pair],)


def _write_prompts(asked: Path) -> None:
    """All who are drawn are in a prompt: those whom the caption does not name may do it instead."""
    lines: dict[str, list[str]] = {pair: [] for pair in PAIRS}
    for name, about in asked_table(asked.parent).items():
        truth = _truth(asked, name)
        size = truth.height, truth.width
        masks = {i.id: fill(run_lengths(rle, *size), *size) for i in truth.instances if (rle := i.masks[0]) is not None}
        write_whole(asked / f"{name}.idmap.png", encode_id_map(id_map(masks, *size)))
        everyone = tuple(Asked(id=i.id, cls=i.cls, appearance=i.phrase) for i in truth.instances)
        for pair in PAIRS:
            known = dict(by_truth.prompt_of(_of_pair(truth, about[pair])))
            prompt = Prompt(**known | {"instances": everyone, "idmap": f"{name}.idmap.png"})
            lines[pair].append(prompt.model_dump_json())
    for pair in PAIRS:
        write_whole(asked / f"{pair}.jsonl", "\n".join(lines[pair]) + "\n")


def _truth(asked: Path, name: str) -> VideoTruth:
    return read_truth(asked / "truth" / f"{name}.mp4.json")


def _of_pair(truth: VideoTruth, pair: Sequence[str]) -> VideoTruth:
    """As if its act were asked of this pair."""
    act = truth.triplets[0].model_copy(update=dict(zip(("subject", "object"), pair, strict=True)))
    return truth.model_copy(update={"triplets": (act,)})
