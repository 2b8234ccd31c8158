"""Stage `track`: what it makes of a tracker's answer, and what it refuses."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas import Anchor, Box, Clip, Geometry, MediaFacts, Reason, SourceVideo, Status, Track, Verified, Window
from tasks.engines.base import Frames
from tasks.media.clips import decode_mask, encode_mask
from tasks.outcome import Case
from tasks.track.stage import TrackSettings, track

T, H, W = 12, 48, 64


def anchor(who: str, frame: int, box: tuple[float, float, float, float]) -> Anchor:
    return Anchor(id=who, frame=frame, box=Box(x0=box[0], y0=box[1], x1=box[2], y1=box[3]), score=0.9, confidence=0.9)


def clip() -> Clip:
    source = SourceVideo(
        source_id="0" * 16, uris=("a.mp4",), digest="0" * 64, size_bytes=1, caption="a", dataset="world"
    )
    facts = MediaFacts(
        container="mp4", codec="h264", pixel_format="yuv420p", width=W, height=H, rotation=0, fps=8, duration_s=1,
        frames=T, has_audio=False,
    )  # fmt: skip
    return Clip(
        clip_id="00000000000000aa", source=source, facts=facts,
        window=Window(scene=0, index=0, source_frames=tuple(range(T)), start_s=0, end_s=1),
        geometry=Geometry(source_width=W, source_height=H, scale=1, offset_x=0, offset_y=0),
        path="a.mp4", media_digest="0" * 64, width=W, height=H, frames=T, fps=8, phash=(),
    )  # fmt: skip


def case(anchors: Sequence[Anchor]) -> Case:
    verified = Verified(anchors=tuple(anchors), interactions=("<id1> pushes <id2>",), verifier="v")
    return Case(clip(), (verified,))


@dataclass
class Scripted:
    """A tracker that returns what it was given, and remembers what it was asked."""

    tracks: list[Track]
    identity: str = "scripted/1"
    asked: list[tuple[Frames, Sequence[Anchor]]] = field(default_factory=list)

    def propagate(self, frames: Frames, anchors: Sequence[Anchor]) -> list[Track]:
        self.asked.append((frames, anchors))
        return self.tracks


def scene() -> tuple[Frames, NDArray[np.bool_]]:
    """A red square that walks to the right over grey noise, and its masks [T, H, W]."""
    rng = np.random.default_rng(0)
    frames = rng.integers(90, 130, (T, H, W, 3), dtype=np.uint8)
    masks = np.zeros((T, H, W), dtype=bool)
    for t in range(T):
        masks[t, 10:26, 4 + 3 * t : 20 + 3 * t] = True
        frames[t][masks[t]] = (200, 30, 30)
    return frames, masks


def encoded(who: str, masks: NDArray[np.bool_]) -> Track:
    return Track(id=who, masks=tuple(encode_mask(m) for m in masks))


ANCHORS = (anchor("id1", 3, (13, 10, 29, 26)), anchor("id2", 3, (40, 30, 50, 40)))


def test_tracks_are_kept_with_overlaps_and_gaps() -> None:
    frames, masks = scene()
    masks[7] = False
    tracker = Scripted([encoded("id1", masks), encoded("id2", masks)])
    (row,) = track([case(ANCHORS)], lambda _: frames, tracker, TrackSettings())
    assert row.status is Status.ACCEPTED and row.payload is not None and row.key == "00000000000000aa"
    assert (row.payload.height, row.payload.width, row.payload.tracker) == (H, W, "scripted/1")
    assert [t.id for t in row.payload.tracks] == ["id1", "id2"]
    for one in row.payload.tracks:
        assert one.masks[7] is None and one.likeness[7] is None
        for t in range(T):
            assert np.array_equal(decode_mask(one.masks[t], H, W), masks[t])
    assert tracker.asked[0][0] is frames and tracker.asked[0][1] == ANCHORS


def test_likeness_falls_where_the_mask_slides_off() -> None:
    frames, masks = scene()
    stays = masks.copy()
    stays[:] = masks[3]
    (row,) = track(
        [case(ANCHORS)], lambda _: frames, Scripted([encoded("id1", masks), encoded("id2", stays)]), TrackSettings()
    )
    assert row.payload is not None
    followed, left = (one.likeness for one in row.payload.tracks)
    assert all(v is not None and v > 0.95 for v in followed)
    assert left[3] == 1.0
    assert left[4] is not None and 0.7 < left[4] < 0.95  # 13 of its 16 columns are still red
    assert left[10] is not None and left[10] < 0.1


def test_likeness_falls_where_the_mask_takes_in_something_else() -> None:
    frames, masks = scene()
    grows = masks.copy()
    grows[9:, :, :] = True
    (row,) = track(
        [case(ANCHORS)], lambda _: frames, Scripted([encoded("id1", grows), encoded("id2", masks)]), TrackSettings()
    )
    assert row.payload is not None
    likeness = row.payload.tracks[0].likeness
    assert likeness[8] is not None and likeness[8] > 0.95
    assert likeness[9] is not None and likeness[9] < 0.5


def test_specks_count_as_empty_and_a_lost_id_keeps_its_place() -> None:
    frames, masks = scene()
    specks = np.zeros_like(masks)
    specks[:, 0:3, 0:5] = True
    (row,) = track(
        [case(ANCHORS)], lambda _: frames, Scripted([encoded("id1", masks), encoded("id2", specks)]), TrackSettings()
    )
    assert row.payload is not None
    assert row.payload.tracks[1].masks == (None,) * T == row.payload.tracks[1].likeness
    (row,) = track(
        [case(ANCHORS)], lambda _: frames, Scripted([encoded("id1", specks), encoded("id2", specks)]), TrackSettings()
    )
    assert row.status is Status.REJECTED and row.reason is Reason.LOST
    (row,) = track(
        [case(ANCHORS)], lambda _: frames, Scripted([encoded("id1", specks), encoded("id2", specks)]),
        TrackSettings(min_pixels=15),
    )  # fmt: skip
    assert row.status is Status.ACCEPTED


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda a, _: [a], "tracks ['id1'] for anchors ['id1', 'id2']"),
        (lambda a, b: [b, a], "['id2', 'id1']"),
        (lambda a, b: [a, b, b], "['id1', 'id2', 'id2']"),
        (lambda a, b: [a, Track(id="id2", masks=b.masks[:-1])], "11 masks for 12 frames"),
        (lambda a, _: [a, Track(id="id2", masks=("0" * 7,) * T)], "do not fill"),
        (lambda a, _: [a, encoded("id2", np.ones((T, 5, 5), dtype=bool))], "do not fill"),
    ],
)
def test_a_tracker_that_breaks_its_contract_is_a_failed_attempt(broken, says) -> None:  # type: ignore[no-untyped-def]
    frames, masks = scene()
    tracker = Scripted(broken(encoded("id1", masks), encoded("id2", masks)))
    (row,) = track([case(ANCHORS)], lambda _: frames, tracker, TrackSettings())
    assert row.status is Status.FAILED and says in row.detail


def test_a_clip_that_cannot_be_read_is_not_the_clips_fault() -> None:
    def unreadable(_: Case) -> Frames:
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        list(track([case(ANCHORS)], unreadable, Scripted([]), TrackSettings()))
