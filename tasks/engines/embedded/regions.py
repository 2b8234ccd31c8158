"""What stands out in sampled frames: a foreground mask, cut into parts of one colour family.

Two background models take turns. In a calm picture a pixel stands out when it differs from the median of its own rows
left and right of it (walls, floors, sky, tables). In a cluttered one only motion and vivid colour tell: a pixel stands
out when it differs from the median of the frames, laid on each other by the camera's motion. So a still, dull object in
front of clutter is not seen, and neither is one in the colour of its background.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.engines.base import Frames
from tasks.engines.embedded.colours import Lab, chroma, hue, to_lab
from tasks.engines.embedded.flow import Affine, fit_affine, invert

HEIGHT = 240
"""Working height in pixels. Widths follow."""

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]

LIGHTNESS_WEIGHT = 0.6
"""Moving light and shadows change lightness more than colour."""

LEAST_DIFFERENCE = 10.0
"""In CIE76 units with lightness weighted; shadows on a floor stay below."""

CALM = 5.0
"""Spread of the surroundings above which they count as clutter."""

CLUTTERED_SHARE = 0.3
"""A picture of which more than this stands out is a cluttered one: there only motion and vivid colour count."""

VIVID = 40.0
_SQUARE = np.ones((3, 3), np.uint8)

GREY_CHROMA = 13.0
HUES = 120
"""Bins of the hue histogram."""

LEAST_HILL = 0.001
"""Of all foreground pixels: a smaller peak in a histogram is no colour family of its own."""


@dataclass(frozen=True)
class Views:
    """The frames at working size. `scale` is working pixels per clip pixel."""

    labs: list[Lab]
    scale: float


@dataclass(frozen=True)
class Part:
    """A connected region of one colour family in one frame, working pixels."""

    frame: int
    family: int
    x0: int
    y0: int
    x1: int
    y1: int
    area: int
    mask: Mask
    """[y1 - y0, x1 - x0]"""


def shrink(frames: Frames) -> Views:
    """Frames [T, H, W, 3] in Lab at working height, lightly smoothed."""
    height, width = frames.shape[1:3]
    scale = HEIGHT / height
    size = (max(round(width * scale), 8), HEIGHT)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = [np.asarray(cv2.resize(f, size, interpolation=how), dtype=np.uint8) for f in frames]
    labs = [np.asarray(cv2.GaussianBlur(to_lab(f), (0, 0), 0.8), dtype=np.float32) for f in small]
    return Views(labs, scale)


def difference(a: Lab, b: Lab) -> NDArray[np.float32]:
    """Colour distance per pixel, [...]."""
    d = a - b
    away = np.sqrt((LIGHTNESS_WEIGHT * d[..., 0]) ** 2 + d[..., 1] ** 2 + d[..., 2] ** 2)
    return np.asarray(away, dtype=np.float32)


@dataclass(frozen=True)
class Foreground:
    """Which pixels of a frame stand out, [h, w]."""

    strong: Mask
    weak: Mask
    """Stands out a little: worth believing only beside something strong."""
    cluttered: bool
    """Too much of the picture stands out from its rows; only motion and vivid colour count."""
    moving: Mask | None = None
    """In clutter, what differs from the median of the frames."""


def foreground(labs: list[Lab]) -> list[Foreground]:
    """What stands out in each frame."""
    seen = [stands_out(lab) for lab in labs]
    if np.mean([s.cluttered for s in seen]) > 0.5:
        moved = _moved(labs)
        vivid = [_clean(s.strong & (chroma(lab) > VIVID)) for s, lab in zip(seen, labs, strict=True)]
        return [Foreground(m | v, m | v, True, m) for m, v in zip(moved, vivid, strict=True)]
    return [Foreground(_clean(s.strong), _clean(s.weak), False) for s in seen]


def stands_out(lab: Lab) -> Foreground:
    """Pixels unlike the rows around them; from one frame alone."""
    around, spread = _surroundings(lab)
    off, spread = difference(lab, around), np.minimum(spread, CALM)
    strong = off > np.maximum(LEAST_DIFFERENCE, 3.5 * spread)
    weak = off > np.maximum(0.65 * LEAST_DIFFERENCE, 2.2 * spread)
    return Foreground(strong, weak, bool(strong.mean() > CLUTTERED_SHARE))


def _clean(mask: Mask) -> Mask:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _SQUARE), dtype=bool)


def _surroundings(lab: Lab) -> tuple[Lab, NDArray[np.float32]]:
    """Per pixel the median colour of its rows within a wide window, and the median difference from it there."""
    height, width = lab.shape[:2]
    size = (width // 2, height // 2)
    small = np.asarray(cv2.resize(lab, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    first = _stretch(_row_medians(small), size)
    # Once more without what stands out, so that a row full of things still shows its background.
    calm = np.where((difference(small, first) > 1.5 * LEAST_DIFFERENCE)[..., None], first, small)
    second = _stretch(_row_medians(calm), size)
    off = _stretch(_row_medians(difference(calm, second)[..., None]), size)
    return _stretch(second, (width, height)), _stretch(off, (width, height))


def _stretch(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _row_medians(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Medians over windows of 3 rows × 60 % of the width, spread evenly over the row: [h, windows, c]."""
    height, width, channels = image.shape
    window, count = max(int(0.6 * width), 1), 7
    starts = np.linspace(0, width - window, count).round().astype(int)
    padded = np.concatenate([image[:1], image, image[-1:]])
    out = np.empty((height, count, channels), dtype=np.float32)
    for k, start in enumerate(starts):
        strip = padded[:, start : start + window : 2]
        rows = np.concatenate([strip[:-2], strip[1:-1], strip[2:]], axis=1)
        out[:, k] = np.partition(rows, rows.shape[1] // 2, axis=1)[:, rows.shape[1] // 2]
    return out


def _moved(labs: list[Lab]) -> list[Mask]:
    """Pixels that differ from the median of all frames, seen from each frame's camera."""
    height, width = labs[0].shape[:2]
    greys = [np.clip(lab[..., 0] * 2.55, 0, 255).astype(np.uint8) for lab in labs]
    middle = len(labs) // 2
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    maps: list[Affine] = [fit_affine(_flow(dis, greys[middle], grey)) for grey in greys]
    stack = np.stack([_seen(lab, invert(m), width, height) for lab, m in zip(labs, maps, strict=True)])
    plate = np.partition(stack, len(labs) // 2, axis=0)[len(labs) // 2]
    return [
        difference(lab, _seen(plate, m, width, height)) > 1.2 * LEAST_DIFFERENCE
        for lab, m in zip(labs, maps, strict=True)
    ]


def _flow(dis: cv2.DISOpticalFlow, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(dis.calc(a, b, np.zeros((*a.shape, 2), np.float32)), dtype=np.float32)


def _seen(image: Lab, m: Affine, width: int, height: int) -> Lab:
    return np.asarray(cv2.warpAffine(image, m, (width, height), borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)


def families(labs: list[Lab], masks: list[Mask]) -> list[Labels]:
    """A colour family per foreground pixel, [h, w]: 0 is background. The families are those of the whole clip.

    Coloured pixels are told apart by hue, so that light and shade on one thing stay together; greys by lightness.
    """
    pixels = np.concatenate([lab[mask][::2] for lab, mask in zip(labs, masks, strict=True)])
    strength = chroma(pixels)
    coloured = strength > GREY_CHROMA
    hues = np.histogram(hue(pixels[coloured]), HUES, (0, 360), weights=np.minimum(strength[coloured], 60))[0]
    of_hue = _basins(hues, circular=True)
    greys = np.histogram(pixels[~coloured][:, 0], 25, (0, 100))[0]
    of_grey = _basins(greys.astype(np.float64), circular=False) + of_hue.max() + 1
    out = []
    for lab, mask in zip(labs, masks, strict=True):
        by_hue = of_hue[np.minimum((hue(lab) * HUES / 360).astype(int), HUES - 1)]
        by_grey = of_grey[np.clip((lab[..., 0] / 4).astype(int), 0, 24)]
        label = np.where(chroma(lab) > GREY_CHROMA, by_hue, by_grey) + 1
        out.append(np.where(mask, label, 0).astype(np.uint8))
    return out


def _basins(counts: NDArray[np.float64], circular: bool) -> NDArray[np.int64]:
    """Cut a histogram at its deep valleys: for each bin the index of its hill."""
    n = len(counts)
    padded = np.concatenate([counts[-2:], counts, counts[:2]]) if circular else np.pad(counts, 2)
    smooth = np.convolve(padded, np.array([1, 2, 3, 2, 1]) / 9, mode="valid")
    start = int(np.argmin(smooth)) if circular else 0
    line = np.roll(smooth, -start)
    before, after = np.r_[0, line[:-1]], np.r_[line[1:], 0]
    peaks = np.flatnonzero((line >= before) & (line > after) & (line > LEAST_HILL * line.sum())).tolist()
    cuts: list[int] = []
    for peak in peaks:
        if peak == peaks[0]:
            last = peak
            continue
        valley = last + int(np.argmin(line[last : peak + 1]))
        if line[valley] < 0.5 * min(line[last], line[peak]):
            cuts.append(valley)
            last = peak
        elif line[peak] > line[last]:
            last = peak
    return np.roll(np.searchsorted(np.array(cuts), np.arange(n), side="right"), start)


def parts(labels: list[Labels], gap: int, least_area: int = 45) -> list[list[Part]]:
    """Per frame the connected regions of each family, largest first. Gaps up to `gap` are bridged, specks go."""
    out = []
    bridge = np.ones((gap, gap), np.uint8)
    for frame, label in enumerate(labels):
        found = []
        for family in np.unique(label[label > 0]).tolist():
            own = (label == family).astype(np.uint8)
            own = cv2.morphologyEx(own, cv2.MORPH_CLOSE, bridge)
            count, ids, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
            for k in range(1, count):
                x, y, w, h, area = (int(v) for v in stats[k])
                if area >= least_area:
                    mask = _filled(ids[y : y + h, x : x + w] == k)
                    found.append(Part(frame, family, x, y, x + w, y + h, int(mask.sum()), mask))
        out.append(sorted(found, key=lambda p: (-p.area, p.y0, p.x0)))
    return out


def _filled(mask: Mask) -> Mask:
    """The mask without holes: a pale belly, a label on a bottle."""
    outside, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros(mask.shape, np.uint8), outside, -1, 1, cv2.FILLED), dtype=bool)
