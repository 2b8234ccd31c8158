"""Videos without a caption: few clips in memory, however many wait for the captioner."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from schemas import Status
from tasks.caption.stage import CaptionSettings, caption
from tasks.engines.base import Frames
from tasks.engines.embedded.language import EmbeddedLanguage
from tests.tasks.caption.captioning import make_case

CLIPS = 40


class Alive:
    """Counts arrays from their making to their end."""

    def __init__(self) -> None:
        self.now = self.most = self.made = 0
        self.lock = threading.Lock()

    def watch(self, frames: Frames) -> Frames:
        with self.lock:
            self.now += 1
            self.made += 1
            self.most = max(self.most, self.now)
        weakref.finalize(frames, self._gone)
        return frames

    def _gone(self) -> None:
        with self.lock:
            self.now -= 1


class Slow:
    """A captioner that takes its time, with the frames that it holds."""

    identity = "slow/1"

    def __init__(self) -> None:
        self.shown = Alive()
        self.shapes: set[tuple[int, ...]] = set()

    async def describe(self, frames: Frames, times: Sequence[float] = ()) -> str:
        assert frames.base is None, "a view would keep the whole clip"
        self.shown.watch(frames)
        self.shapes.add(frames.shape)
        await asyncio.sleep(0.005)
        return "A man kicks a ball."


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_one_whole_clip_at_a_time_and_no_more_picked_frames_than_allowed(at_once: int) -> None:
    whole, captioner = Alive(), Slow()
    settings = CaptionSettings(captioner_frames=2, captioner_clips=at_once, concurrency=64)

    def frames_of(_: Any) -> Frames:
        return whole.watch(np.zeros((16, 8, 8, 3), np.uint8))

    cases = [make_case(n, None) for n in range(1, CLIPS + 1)]
    rows = list(caption(cases, EmbeddedLanguage(), captioner, settings, frames_of))
    gc.collect()
    assert all(row.status is Status.ACCEPTED for row in rows)
    assert (whole.made, whole.now, captioner.shown.now) == (CLIPS, 0, 0)
    assert whole.most == 1
    assert 1 <= captioner.shown.most <= at_once
    assert captioner.shapes == {(2, 8, 8, 3)}


def test_what_no_captioner_is_asked_for_is_not_decoded() -> None:
    def frames_of(_: Any) -> Frames:
        raise AssertionError("a clip with a caption needs no frames")

    (row,) = caption([make_case(1, "A man kicks a ball.")], EmbeddedLanguage(), Slow(), CaptionSettings(), frames_of)
    assert row.status is Status.ACCEPTED


def test_a_clip_that_cannot_be_read_holds_up_no_other() -> None:
    def frames_of(case: Any) -> Frames:
        if case.clip.clip_id.endswith("2"):
            raise ValueError("no such frames")
        return np.zeros((16, 8, 8, 3), np.uint8)

    settings = CaptionSettings(captioner_clips=1)
    rows = list(caption([make_case(n, None) for n in range(1, 5)], EmbeddedLanguage(), Slow(), settings, frames_of))
    assert [row.status for row in rows] == [Status.ACCEPTED, Status.FAILED, Status.ACCEPTED, Status.ACCEPTED]
