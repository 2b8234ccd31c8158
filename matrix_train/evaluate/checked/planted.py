"""Questions of known answers (`bias.py`) put to a vision-language model, on the videos of a rendered world.

E/bias/videos/<video>.json     what was known and what was said, by plant: what a run goes on from
E/bias/bias.json              the rates by question, warnings, and what could not be asked

One that gets no answer that holds is one row; a server that is lost ends the run, and the same command goes on.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from matrix_train.errors import UserError
from matrix_train.evaluate.at_once import for_each
from matrix_train.evaluate.checked import bias
from matrix_train.evaluate.checked.bias import Bias, Known, Plant, painted_plants, plants
from matrix_train.evaluate.checked.faults import NoRoom
from matrix_train.evaluate.checked.painting import painted
from matrix_train.evaluate.judge import by_truth
from matrix_train.evaluate.judge.by_vlm import VlmJudge
from matrix_train.evaluate.protocol.prompt import Picture
from matrix_train.evaluate.protocol.scores import Answer, FrameCheck
from matrix_train.evaluate.run import made_of, read_truth, truth_files
from matrix_train.evaluate.seen.footage import Footage, watch
from matrix_train.evaluate.seen.strip import boxed
from matrix_train.files import write_json
from schemas.base import Record
from schemas.text import one_line
from schemas.truth import VideoTruth
from schemas.usage import Usage
from tasks.engines.base import BadReply
from tasks.engines.metering import metered
from tasks.engines.served.faults import RequestRefusedError
from tasks.errors import InfrastructureError, StopRun

Answers = tuple[tuple[Answer, ...], ...]

FORM: Literal[2] = 2


class Told(Record):
    """What came of one plant: of its answers those that count, of its frames none where it was not asked."""

    plant: str
    known: Answers
    said: Answers = ()
    known_checks: tuple[FrameCheck, ...] = ()
    said_checks: tuple[FrameCheck, ...] = ()
    failed: str | None = None


class Row(Record):
    """One video of the world."""

    form: Literal[2]
    """Raised with the plants: a row of fewer is asked again."""
    video: str
    judge: str
    made_of: str
    """Digest of its truth, its bytes and what is asked: of another world nothing is taken over."""
    told: tuple[Told, ...] = ()
    failed: str | None = None
    usage: Usage = Usage()
    seconds: float = 0.0

    @property
    def whole(self) -> bool:
        return self.failed is None and all(one.failed is None for one in self.told)


def measure_bias(world: Path, out: Path, vlm: VlmJudge) -> tuple[Bias, dict[str, Any]]:
    """The bias of a judge on the videos of a world, and what `scores.json` says of it.

    UserError where nothing below `world` can be asked, or nothing was answered. StopRun where the judge is lost.
    """
    about = dict(_asked(world))
    if not about:
        raise UserError(f"--bias {world}: no video there states an interaction: there is nothing to ask")
    run = _Run(world, out / "bias", vlm, about)
    for_each([path for path in about if not run.is_done(path)], run.ask)
    rows = [Row.model_validate_json(run.file(path).read_bytes()) for path in about]
    told = [one for row in rows for one in row.told if one.failed is None]
    found = bias.measure((one.known, one.said) for one in told)
    checks = bias.measure_checks((one.known_checks, one.said_checks) for one in told)
    failed = dict(_failed(rows))
    if not any(known.true_asked for known in found.values()):
        raise UserError(f"--bias {world}: no question was answered; the first: {next(iter(failed.values()))}")
    table = {
        "world": str(world),
        "videos": len(rows),
        "plants": Counter(one.plant for one in told),
        "questions": {f"Q{q}": _rated(one) for q, one in found.items()},
        "checks": {name: _rated(one) for name, one in checks.items()},
        "warnings": bias.warnings(found, checks),
        "failed": failed,
        "requests": sum(row.usage.requests for row in rows),
    }
    write_json(out / "bias" / "bias.json", table)
    return found, table


def _rated(one: Known) -> dict[str, Any]:
    return one.model_dump() | {"false_rate": one.false_rate, "true_rate": one.true_rate}


def _asked(world: Path) -> Iterator[tuple[Path, str]]:
    """The truths that state an interaction, each with the digest of what is put and shown (`made_of`)."""
    for path in truth_files(world):
        truth = read_truth(path)
        if truth.expect in ("accept", "filtered") and truth.triplets:
            yield path, made_of(by_truth.prompt_of(truth), _video(world, truth), path)


def _video(world: Path, truth: VideoTruth) -> Path:
    return world / "raw" / truth.video


def _failed(rows: list[Row]) -> Iterator[tuple[str, str]]:
    for row in rows:
        if row.failed:
            yield row.video, row.failed
        for one in row.told:
            if one.failed:
                yield f"{row.video}, {one.plant}", one.failed


class _Run:
    def __init__(self, world: Path, out: Path, vlm: VlmJudge, about: Mapping[Path, str]) -> None:
        self.world, self.out, self.vlm, self.about = world, out, vlm, about

    def file(self, path: Path) -> Path:
        """Of a truth file's row."""
        return self.out / "videos" / path.name

    def is_done(self, path: Path) -> bool:
        try:
            row = Row.model_validate_json(self.file(path).read_bytes())
        except (FileNotFoundError, ValidationError):  # of another version: asked again, the replies are kept anyway
            return False
        return row.whole and (row.judge, row.made_of) == (self.vlm.name, self.about[path])

    async def ask(self, path: Path) -> None:
        """Put all plants of one video, and keep what came of it. StopRun, OSError."""
        truth = await asyncio.to_thread(read_truth, path)
        row = Row(form=FORM, video=truth.video, judge=self.vlm.name, made_of=self.about[path])
        with metered() as meter:
            began = time.perf_counter()
            try:
                footage = await asyncio.to_thread(watch, _video(self.world, truth))
                if footage.count != truth.frames:
                    raise ValueError(f"{footage.count} frames, its truth has {truth.frames}")
                painted = await asyncio.to_thread(lambda: tuple(painted_plants(truth)))
                put = [await self._put(p, truth, footage) for p in (*plants(truth), *painted)]
                row = row.model_copy(update={"told": tuple(one for one in put if one)})
            except ValueError as error:
                row = row.model_copy(update={"failed": one_line(error, 600)})
        cost = {"usage": meter.usage or Usage(), "seconds": time.perf_counter() - began}
        write_json(self.file(path), row.model_copy(update=cost))

    async def _put(self, plant: Plant, truth: VideoTruth, footage: Footage) -> Told | None:
        """None where it has no room in the pictures."""
        known, prompt = plant.known(), by_truth.prompt_of(plant.asked)
        told = Told(plant=plant.name, known=plant.of(known.answers) if plant.counted else ())
        try:
            pictures = await asyncio.to_thread(_pictures, plant, truth, footage)
            if plant.counted:
                said = plant.of(await self.vlm.answers(prompt, footage.chosen, pictures))
                told = told.model_copy(update={"said": said})
            if plant.checked:
                checks = await self.vlm.checks(prompt, footage.chosen, pictures)
                told = told.model_copy(update={"known_checks": known.checks, "said_checks": checks})
        except NoRoom:
            return None
        except StopRun:
            raise
        except (BadReply, RequestRefusedError, InfrastructureError) as error:
            return Told(plant=plant.name, known=told.known, failed=one_line(error, 600))
        return told


def _pictures(plant: Plant, truth: VideoTruth, footage: Footage) -> list[Picture]:
    """What is looked at, with boxes. NoRoom."""
    shown = painted(truth, plant.edit, footage) if plant.edit else footage
    prompt, tracks = by_truth.prompt_of(plant.asked), {i.id: i.masks for i in plant.seen.instances}
    return [boxed(prompt, shown, tracks, 0 if plant.still else frame) for frame in footage.chosen]
