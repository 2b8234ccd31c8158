"""Stage `track`: from each anchor both ways over the whole clip (paper §1.2 step 3), one RLE mask per frame.

The tracker is asked once a clip for all IDs, so that it may weigh them against each other. What it returns is checked
and put on record with a colour likeness per frame, which lets `curate` see a drift without decoding the video again.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from schemas import Anchor, Reason, Row, Track, Tracked, Verified
from schemas.settings import Settings
from tasks.engines.base import Frames, Tracker
from tasks.errors import Reject
from tasks.media.clips import decode_mask, encode_mask
from tasks.outcome import Case, settle_each
from tasks.spec import StageSpec

STRIDE = 2
"""Colours are compared on every second pixel of every second row: a quarter of the work for the same shares."""

SMOOTHING = 1.0
"""Standard deviation, in sixteenths of a channel, by which histograms are smoothed before they are compared."""


class TrackSettings(Settings):
    """What the stage itself decides; the tracker has settings of its own."""

    min_pixels: int = Field(default=16, ge=1, description="a mask of fewer pixels counts as empty in that frame")


def track(
    cases: Sequence[Case], frames_of: Callable[[Case], Frames], tracker: Tracker, settings: TrackSettings
) -> Iterator[Row[Tracked]]:
    """One row a clip, in the order of `cases`, which must carry `Verified`.

    An ID without any mask keeps its place with empty frames (`curate` says so); a clip in which no anchor gives a mask
    is rejected as LOST. A tracker that breaks its contract (number, IDs, order or length of the tracks, run lengths
    that do not fit the frame) is a failed attempt.
    """

    def one(case: Case) -> Tracked:
        frames, anchors = frames_of(case), case.of(Verified).anchors
        tracks = tracker.propagate(frames, anchors)
        _check(tracks, anchors, len(frames))
        codes = _colour_codes(frames[:, ::STRIDE, ::STRIDE])
        kept = tuple(_finish(t, a, frames, codes, settings.min_pixels) for t, a in zip(tracks, anchors, strict=True))
        if not any(any(t.masks) for t in kept):
            raise Reject(Reason.LOST, f"none of the {len(anchors)} anchors gave a mask")
        return Tracked(height=frames.shape[1], width=frames.shape[2], tracks=kept, tracker=tracker.identity)

    yield from settle_each(cases, one)


def _check(tracks: Sequence[Track], anchors: Sequence[Anchor], length: int) -> None:
    wanted, got = [a.id for a in anchors], [t.id for t in tracks]
    if got != wanted:
        raise ValueError(f"the tracker returned tracks {got} for anchors {wanted}")
    for t in tracks:
        if len(t.masks) != length:
            raise ValueError(f"track {t.id} has {len(t.masks)} masks for {length} frames")


def _finish(track: Track, anchor: Anchor, frames: Frames, codes: NDArray[np.uint16], min_pixels: int) -> Track:
    """The track without specks, with its likeness per frame."""
    height, width = frames.shape[1:3]
    masks = np.stack([decode_mask(rle, height, width) for rle in track.masks])
    masks[masks.sum((1, 2)) < min_pixels] = False
    return Track(
        id=track.id,
        masks=tuple(encode_mask(m) for m in masks),
        likeness=_likeness(codes, masks[:, ::STRIDE, ::STRIDE], anchor.frame),
    )


def _colour_codes(frames: Frames) -> NDArray[np.uint16]:
    """Sixteen steps a channel: RGB uint8 [T, h, w, 3] → [T, h, w] in 0..4095."""
    red, green, blue = (frames[..., c].astype(np.uint16) >> np.uint16(4) for c in range(3))
    codes: NDArray[np.uint16] = red * np.uint16(256) + green * np.uint16(16) + blue
    return codes


def _likeness(codes: NDArray[np.uint16], masks: NDArray[np.bool_], anchor: int) -> tuple[float | None, ...]:
    """Per frame how far the mask has the mix of colours of the anchor frame's: Bhattacharyya coefficient, 0 to 1.

    codes, masks: [T, h, w]. It falls where the mask lies on something else, takes in something else, or has lost a
    part. Where the anchor frame is empty, the visible frame nearest to it takes its place.
    """
    visible = np.asarray(masks.any((1, 2)))
    if not visible.any():
        return (None,) * len(masks)
    seen = np.flatnonzero(visible)
    first = seen[np.argmin(np.abs(seen - anchor))]
    wanted = np.sqrt(_histogram(codes[first][masks[first]]))
    return tuple(
        round(min(1.0, float(wanted @ np.sqrt(_histogram(c[m])))), 4) if v else None
        for c, m, v in zip(codes, masks, visible.tolist(), strict=True)
    )


def _histogram(codes: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Share of each colour, smoothed by about a step, so that noise and moving light do not count."""
    counts = np.bincount(codes, minlength=4096).reshape(16, 16, 16).astype(np.float64)
    smooth = ndimage.gaussian_filter(counts, SMOOTHING, mode="nearest").ravel()
    shares: NDArray[np.float64] = smooth / smooth.sum()
    return shares


SPEC = StageSpec(
    name="track",
    version=2,
    settings=TrackSettings,
    record=Tracked,
    needs=(Verified,),
    engines=("tracker",),
    batch=lambda work, keys: track(work.cases(keys), work.frames, work.engine("tracker"), work.settings),
    rejects={Reason.LOST: "the tracker found nothing at any anchor"},
)
