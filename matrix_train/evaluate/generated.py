"""Anyone's videos with a prompts file, judged several at a time; one that fails is one row.

What a judge said of a video is kept, and what it cost. A server that is lost ends the run: what was judged stays, and
the same command goes on from there. Nothing is scored that was not answered.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from matrix_train.errors import UserError
from matrix_train.evaluate.at_once import for_each
from matrix_train.evaluate.checked.bias import Bias
from matrix_train.evaluate.exchange.authors import check_place
from matrix_train.evaluate.judge import by_tracks
from matrix_train.evaluate.judge.by_vlm import VlmJudge
from matrix_train.evaluate.protocol.prompt import Prompt
from matrix_train.evaluate.protocol.scores import Judged
from matrix_train.evaluate.run import Row, is_kept, keep_row, made_of, publish
from matrix_train.evaluate.seen.footage import Footage, watch
from matrix_train.evaluate.seen.masks import follow, read_guide
from matrix_train.evaluate.seen.strip import Followed, boxed, show
from matrix_train.sample.trackers import Trackers
from schemas.text import one_line
from schemas.usage import Usage
from tasks.engines.base import BadReply
from tasks.engines.metering import metered
from tasks.engines.served.faults import RequestRefusedError
from tasks.errors import InfrastructureError, StopRun


class Judge(Protocol):
    """Who answers. Its name goes into the files."""

    @property
    def name(self) -> str: ...

    async def __call__(self, prompt: Prompt, footage: Footage, tracks: Followed) -> Judged:
        """ValueError, BadReply, RequestRefusedError where this video cannot be judged; InfrastructureError."""
        ...


@dataclass(frozen=True)
class ByTracks:
    """Works out from tracks who does what to whom (`judge/by_tracks.py`)."""

    name: str

    async def __call__(self, prompt: Prompt, footage: Footage, tracks: Followed) -> Judged:
        film = by_tracks.filmed(prompt, tracks, footage.height, footage.width, footage.fps)
        return await asyncio.to_thread(by_tracks.judge_tracks, prompt, film)


@dataclass(frozen=True)
class ByLooking:
    """Asks a vision-language model about frames with boxes drawn in (`judge/by_vlm.py`)."""

    vlm: VlmJudge
    name: str

    async def __call__(self, prompt: Prompt, footage: Footage, tracks: Followed) -> Judged:
        pictures = [boxed(prompt, footage, tracks, frame) for frame in footage.chosen]
        return await self.vlm.judge(prompt, footage.chosen, pictures)


@dataclass(frozen=True)
class Judging:
    """A judge with all that it needs."""

    judge: Judge
    trackers: Trackers
    bias: Bias | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    """What `scores.json` is to say of the judge."""


def evaluate_videos(
    videos: Path, prompts: Sequence[Prompt], folder: Path, out: Path, judging: Judging
) -> dict[str, Any]:
    """The videos of a folder, each with its prompt; the result as `scores.json` has it.

    folder: of the prompts file, which paths to tracks and ID maps begin from. UserError for an `out` of another judge
    or of nobody's run, where no video could be judged, and where the judge is lost half-way: what was judged until then
    is kept.
    """
    check_place(out)
    name = judging.judge.name
    about = {
        p.video: made_of(p, videos / p.video, *(folder / part for part in (p.tracks, p.idmap) if part)) for p in prompts
    }
    todo = [prompt for prompt in prompts if not is_kept(out, prompt.video, name, about[prompt.video])]
    run = _Run(videos, folder, out, judging, about)
    try:
        for_each(todo, run.one)
    except StopRun as error:
        done = len(prompts) - len(todo) + run.judged
        raise UserError(f"{one_line(error, 600)}; {done} of {len(prompts)} videos are judged and kept") from None
    return publish(out, prompts, name, more=judging.more, bias=judging.bias)


class _Run:
    def __init__(self, videos: Path, folder: Path, out: Path, judging: Judging, about: Mapping[str, str]) -> None:
        self.videos, self.folder, self.out, self.judging = videos, folder, out, judging
        self.about = about
        """By video, what its answers are of (`made_of`)."""
        self.judged = 0
        self._decoding = asyncio.Lock()  # a tracker follows one video at a time

    async def one(self, prompt: Prompt) -> None:
        """Judge a video, and keep what came of it. StopRun where the judge is lost."""
        with metered() as meter:
            began = time.perf_counter()
            row = await self._row(prompt)
        cost = {"usage": meter.usage or Usage(), "seconds": time.perf_counter() - began}
        keep_row(self.out, row.model_copy(update=cost))
        self.judged += not row.failed

    async def _row(self, prompt: Prompt) -> Row:
        video, name, about = prompt.video, self.judging.judge.name, self.about[prompt.video]
        try:
            guide = read_guide(prompt, self.folder)
            async with self._decoding:
                footage = await asyncio.to_thread(watch, self.videos / video, bool(guide.first))
                tracks = await asyncio.to_thread(follow, guide, footage, self.judging.trackers)
            judged = await self.judging.judge(prompt, footage, tracks)
        except StopRun:
            raise
        except (ValueError, UserError, BadReply, RequestRefusedError, InfrastructureError) as error:
            return Row(video=video, judge=name, made_of=about, failed=one_line(error, 600))
        shown = show(self.out, prompt, footage, tracks, judged)
        return Row(
            video=video, judge=name, made_of=about, frames=tuple(footage.chosen), answers=judged.answers,
            checks=judged.checks, measures=footage.measures, shown=shown,
        )  # fmt: skip
