"""A decoded frame to RGB for a standard screen: colour matrix and range, tone mapping of HDR, transparency.

HDR is made in linear light: the transfer function undone (BT.2100: PQ, or HLG with its OOTF for a display of
1000 cd/m²), highlights rolled off as in BT.2390 (EETF on the largest component, from 1000 to BT.2408's reference white,
203 cd/m²), BT.2020 brought to BT.709 by BT.2087's matrix, encoded for BT.1886's gamma of 2.4. Whatever is darker than
half of reference white keeps its light. SDR of wider primaries (BT.2020, P3) is brought to BT.709's in light as well.
"""

from functools import cache

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import ArrayLike, NDArray

TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 11: "iec61966-2-4",
             13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 17: "smpte428",
             18: "arib-std-b67"}  # fmt: skip
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
             10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}  # fmt: skip
MATRICES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
            10: "bt2020c", 14: "ictcp"}  # fmt: skip
"""Names of ITU-T H.273's code points, as ffmpeg writes them."""

_COLORSPACES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
                7: Colorspace.SMPTE240M, 9: Colorspace.BT2020, 10: Colorspace.BT2020}  # fmt: skip
"""libavutil's AVCOL_SPC_* to the matrices of swscale."""

_HD_HEIGHT = 720

_PEAK = 1000.0
"""cd/m² that HDR is taken to be graded for. What files say about it is often missing or wrong."""

_WHITE = 203.0
"""cd/m² of HDR reference white (BT.2408), which comes close to the white of the clip."""

_TO_BT709: dict[int, ArrayLike] = {
    ColorPrimaries.BT709: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    ColorPrimaries.SMPTE432: [[1.2249, -0.2249, 0.0], [-0.0420, 1.0420, 0.0], [-0.0196, -0.0786, 1.0983]],
    ColorPrimaries.BT2020: [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
}
"""Linear RGB to BT.709's primaries, all with white D65."""

_WIDE = (ColorPrimaries.SMPTE432, ColorPrimaries.BT2020)
"""What is seen to be pale where it is shown as BT.709. The others lie closer to it than cameras to one another."""

Light = NDArray[np.float32]


def is_hdr(frame: av.VideoFrame) -> bool:
    return frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


def has_alpha(frame: av.VideoFrame) -> bool:
    return any(part.is_alpha for part in frame.format.components)


class ToRgb:
    """Scales frames and turns them into RGB uint8 [H, W, 3]."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def __call__(self, frame: av.VideoFrame, width: int, height: int, by: Interpolation) -> NDArray[np.uint8]:
        hdr, wide = is_hdr(frame), frame.color_primaries in _WIDE
        scaled = self._scaler.reformat(
            frame, width, height, format="rgb48le" if hdr or wide else "rgb24", threads=1, interpolation=by,
            src_colorspace=_matrix(frame), dst_color_range=ColorRange.JPEG,
        ).to_ndarray()  # fmt: skip
        if hdr:
            return tone_map(scaled.astype(np.uint16, copy=False), frame.color_trc, frame.color_primaries)
        if wide:
            return _encoded(_display()[scaled], frame.color_primaries)
        return scaled.astype(np.uint8, copy=False)


def _matrix(frame: av.VideoFrame) -> Colorspace:
    """The frame's own, or what players assume where it names none."""
    assumed = Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601
    return _COLORSPACES.get(frame.colorspace, Colorspace.BT2020 if is_hdr(frame) else assumed)


def over_black(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame with an alpha channel on a black ground: what hides below transparent pixels is often rubbish."""
    rgba = frame.reformat(format="rgba64le", src_colorspace=_matrix(frame), dst_color_range=ColorRange.JPEG, threads=1)
    pixels = rgba.to_ndarray()
    seen = pixels[..., :3].astype(np.uint32) * pixels[..., 3:] // 65535
    plain = av.VideoFrame.from_ndarray(seen.astype(np.uint16), "rgb48le")
    plain.color_trc, plain.color_primaries, plain.color_range = frame.color_trc, frame.color_primaries, ColorRange.JPEG
    return plain


def tone_map(pixels: NDArray[np.uint16], transfer: int, primaries: int) -> NDArray[np.uint8]:
    """HDR code values [H, W, 3] of 16 bits, full range, to BT.709 for a standard screen."""
    light = _linear(transfer)[pixels]
    if transfer == ColorTrc.ARIB_STD_B67:
        luma = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= _PEAK * luma[..., None] ** np.float32(0.2)
    most = np.minimum(np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2]), np.float32(_PEAK))
    light *= _gains()[(np.sqrt(most / np.float32(_PEAK)) * (_GAINS - 1)).astype(np.int32)][..., None]
    return _encoded(light, primaries if primaries in _TO_BT709 else ColorPrimaries.BT2020)


def _encoded(light: Light, primaries: int) -> NDArray[np.uint8]:
    """Linear RGB [H, W, 3], 1 being white, to BT.709 for a standard screen."""
    matrix = np.asarray(_TO_BT709[primaries], np.float32)
    codes = np.clip(light @ matrix.T, 0, 1) * 65535
    return np.asarray(_gamma()[codes.astype(np.uint16)])


@cache
def _display() -> Light:
    """Light of each of 65536 code values of SDR on a standard screen, 1 being white."""
    return ((np.arange(65536) / 65535) ** 2.4).astype(np.float32)


@cache
def _linear(transfer: int) -> Light:
    """Light of each of 65536 code values: cd/m² for PQ, share of the scene's peak for HLG (BT.2100)."""
    code = np.arange(65536) / 65535
    if transfer == ColorTrc.SMPTE2084:
        return _from_pq(code).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


_GAINS = 4096


@cache
def _gains() -> Light:
    """What to multiply light by, so that reference white becomes a little less and the peak 1 (BT.2390's EETF).

    For the light of the largest component, in even steps of its square root from 0 to `_PEAK`.
    """
    levels = _PEAK * (np.maximum(np.arange(_GAINS), 1) / (_GAINS - 1)) ** 2
    peak, top = _to_pq(np.array(_PEAK)), _to_pq(np.array(_WHITE)) / _to_pq(np.array(_PEAK))
    code = _to_pq(levels) / peak
    knee = 1.5 * top - 0.5
    t = (code - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    return (_from_pq(np.where(code < knee, code, spline) * peak) / _WHITE / levels).astype(np.float32)


@cache
def _gamma() -> NDArray[np.uint8]:
    return np.round((np.arange(65536) / 65535) ** (1 / 2.4) * 255).astype(np.uint8)


_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
"""Constants of PQ (SMPTE ST 2084)."""


def _from_pq(code: NDArray[np.float64]) -> NDArray[np.float64]:
    power = code ** (1 / _M2)
    return np.asarray(10000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1))


def _to_pq(light: NDArray[np.float64]) -> NDArray[np.float64]:
    power = (light / 10000) ** _M1
    return np.asarray(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)
