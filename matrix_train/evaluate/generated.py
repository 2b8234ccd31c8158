"""Anyone's videos with a prompts file, judged several at a time; one that fails is one row.

What a judge said of a video is kept, and what it cost. A server that is lost ends the run: what was judged stays, and
the same command goes on from there. Nothing is scored that was not answered.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av

from matrix_train.errors import UserError
from matrix_train.evaluate import files, judge_tracks
from matrix_train.evaluate.footage import Footage, watch
from matrix_train.evaluate.judge_vlm import VlmJudge
from matrix_train.evaluate.masks import Followed, check_engine, follow, masks_at
from matrix_train.evaluate.protocol import Picture, Prompt, match_videos, read_prompts, with_boxes
from matrix_train.evaluate.run import Row, kept_row, publish, row_file
from matrix_train.evaluate.scores import Judged
from matrix_train.evaluate.strip import decisive, write_strip
from matrix_train.sample.trackers import Trackers
from schemas.text import one_line
from schemas.usage import Usage
from tasks.engines.base import BadReply
from tasks.engines.metering import metered
from tasks.engines.served.faults import RequestRefusedError
from tasks.errors import InfrastructureError, StopRun

AT_ONCE = 4
"""Videos under work: a server is kept busy while others are decoded, and memory does not grow with their number."""


class Judge(Protocol):
    """Who answers. Its name goes into the files."""

    @property
    def name(self) -> str: ...

    async def __call__(self, prompt: Prompt, footage: Footage, tracks: Followed) -> Judged:
        """ValueError, BadReply, RequestRefusedError where this video cannot be judged; InfrastructureError."""
        ...


@dataclass(frozen=True)
class ByTracks:
    """Works out from tracks who does what to whom (`judge_tracks.py`)."""

    name: str

    async def __call__(self, prompt: Prompt, footage: Footage, tracks: Followed) -> Judged:
        film = judge_tracks.filmed(prompt, tracks, footage.height, footage.width, footage.fps)
        return await asyncio.to_thread(judge_tracks.judge_tracks, prompt, film)


@dataclass(frozen=True)
class ByLooking:
    """Asks a vision-language model about frames with boxes drawn in (`judge_vlm.py`)."""

    vlm: VlmJudge
    name: str

    async def __call__(self, prompt: Prompt, footage: Footage, tracks: Followed) -> Judged:
        pictures = [boxed(prompt, footage, tracks, frame) for frame in footage.chosen]
        return await self.vlm.judge(prompt, footage.chosen, pictures)


def boxed(prompt: Prompt, footage: Footage, tracks: Followed, frame: int) -> Picture:
    """A frame with the boxes of the prompt's instances."""
    named = {i.id for i in prompt.instances}
    masks = masks_at({key: track for key, track in tracks.items() if key in named}, frame, footage)
    return with_boxes(footage.pictures[frame], masks)


def evaluate_prompts(
    videos: Path, prompts_file: Path, out: Path, judge: Judge, trackers: Trackers, more: dict[str, Any]
) -> dict[str, Any]:
    """The videos of a folder, each with its line of the prompts file; the result as `scores.json` has it.

    more: goes into it too. UserError for videos without prompts and the reverse, for an `out` of another judge, and
    where the judge is lost half-way: what was judged until then is kept.
    """
    prompts = read_prompts(prompts_file)
    # Our sampler leaves a record beside each of its videos.
    match_videos(videos, prompts, others=[Path(prompt.video).with_suffix(".json").name for prompt in prompts])
    check_engine(prompts, trackers)
    kept = {prompt.video: kept_row(out, prompt.video, judge.name) for prompt in prompts}
    todo = [prompt for prompt in prompts if (row := kept[prompt.video]) is None or row.failed]
    run = _Run(videos, prompts_file.parent, out, judge, trackers)
    try:
        asyncio.run(run.all(todo))
    except StopRun as error:
        done = len(prompts) - len(todo) + run.judged
        raise UserError(f"{one_line(error, 600)}; {done} of {len(prompts)} videos are judged and kept") from None
    rows = [run.rows.get(p.video) or kept[p.video] for p in prompts]
    return publish(out, prompts, [row for row in rows if row is not None], 0, more)


class _Run:
    def __init__(self, videos: Path, folder: Path, out: Path, judge: Judge, trackers: Trackers) -> None:
        self.videos, self.folder, self.out, self.judge, self.trackers = videos, folder, out, judge, trackers
        self.rows: dict[str, Row] = {}
        self._decoding = asyncio.Lock()  # a tracker follows one video at a time

    @property
    def judged(self) -> int:
        return sum(1 for row in self.rows.values() if not row.failed)

    async def all(self, prompts: Sequence[Prompt]) -> None:
        """StopRun where the judge is lost."""
        waiting = iter(prompts)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._some(waiting))
        except* StopRun as lost:
            raise lost.exceptions[0] from None

    async def _some(self, waiting: Iterator[Prompt]) -> None:
        for prompt in waiting:
            with metered() as meter:
                began = time.perf_counter()
                row = await self._one(prompt)
            cost = {"usage": meter.usage or Usage(), "seconds": time.perf_counter() - began}
            row = row.model_copy(update=cost)
            files.write_json(row_file(self.out, prompt.video), row)
            self.rows[prompt.video] = row

    async def _one(self, prompt: Prompt) -> Row:
        name = self.judge.name
        try:
            async with self._decoding:
                footage = await asyncio.to_thread(watch, self.videos / prompt.video, prompt.tracks is None)
                tracks = await asyncio.to_thread(follow, prompt, self.folder, footage, self.trackers)
            judged = await self.judge(prompt, footage, tracks)
        except StopRun:
            raise
        except (
            ValueError, av.error.FFmpegError, UserError, BadReply, RequestRefusedError, InfrastructureError,
        ) as error:  # fmt: skip
            return Row(video=prompt.video, judge=name, failed=one_line(error, 600))
        # Tracks may decide at a frame between those that are kept: the nearest of these is shown.
        shown = {min(footage.pictures, key=lambda kept: abs(kept - frame)) for frame in decisive(judged)}
        write_strip(self.out, prompt.video, {frame: boxed(prompt, footage, tracks, frame) for frame in shown})
        return Row(
            video=prompt.video, judge=name, frames=tuple(footage.chosen), answers=judged.answers, checks=judged.checks,
            measures=footage.measures, shown=tuple(sorted(shown)),
        )  # fmt: skip
