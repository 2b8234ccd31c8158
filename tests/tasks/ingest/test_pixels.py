"""Pixels that are no progressive SDR: HDR, interlaced, transparent, deep, full range."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.ingest import sandbox
from tasks.ingest.colours import tone_map
from tasks.media.clips import read_frames
from tests.tasks.ingest.running import SMALL, clips_of, numbers, run
from tests.tasks.ingest.striped import picture

W, H, FPS = 144, 96, 12
PQ, HLG, BT2020, BT2020_NCL = 16, 18, 9, 9


@pytest.fixture(scope="module", autouse=True)
def _end_helpers():
    yield
    sandbox.close()


def encode(path: Path, frames: Iterable[av.VideoFrame], codec: str, pixels: str, setup=None, options=None) -> Path:
    """Frames as they are, at 12 per second; `setup` gets the codec context before it is opened."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=FPS, options=options or {})
        stream.pix_fmt, stream.thread_count = pixels, 1
        for i, frame in enumerate(frames):
            if not i:
                stream.width, stream.height = frame.width, frame.height
                if setup:
                    setup(stream.codec_context)
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def middle(path: Path, out: Path) -> NDArray[np.uint8]:
    """The clip's middle frame."""
    (clip, *_) = clips_of(path, out)
    return read_frames(out / clip.path)[4]


def bars(i: int, colours: Iterable[tuple[float, float, float]]) -> NDArray[np.float64]:
    """Bars of linear light [H, W, 3], and a white block that moves below them."""
    colours = list(colours)
    image = np.zeros((H, W, 3))
    width = W // len(colours)
    for k, colour in enumerate(colours):
        image[:, k * width : (k + 1) * width] = colour
    image[72:84, 4 + 2 * i : 20 + 2 * i] = 1.0
    return image


COLOURS = [
    (0.5, 0.5, 0.5),
    (0.4, 0.05, 0.05),
    (0.05, 0.3, 0.05),
    (0.05, 0.05, 0.4),
    (0.02, 0.02, 0.02),
    (1.0, 1.0, 1.0),
]
"""Linear light of BT.709, 1 being reference white."""

FROM_BT2020 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


def pq_code(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    y = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg_code(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """For a display of 1000 cd/m²."""
    luma = nits @ [0.2627, 0.6780, 0.0593] / 1000
    scene = nits / 1000 * np.maximum(luma, 1e-9)[..., None] ** (1 / 1.2 - 1)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def hdr(path: Path, transfer: int, codec: str = "libx265", pixels: str = "yuv420p10le") -> Path:
    def setup(context) -> None:
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = transfer, BT2020, 9, 1

    def frames():
        code = pq_code if transfer == PQ else hlg_code
        for i in range(30):
            light = np.maximum(bars(i, COLOURS) @ np.linalg.inv(FROM_BT2020).T, 0) * 203
            rgb = av.VideoFrame.from_ndarray(np.round(code(light) * 65535).astype(np.uint16), "rgb48le")
            yield rgb.reformat(format=pixels, dst_colorspace=BT2020_NCL, dst_color_range=1)

    options = {"preset": "ultrafast", "crf": "12", "x265-params": "log-level=none"} if codec == "libx265" else {}
    return encode(path, frames(), codec, pixels, setup, options)


@pytest.mark.parametrize(
    ("name", "transfer", "codec", "pixels"),
    [("pq.mp4", PQ, "libx265", "yuv420p10le"), ("hlg.mkv", HLG, "libx265", "yuv420p10le"),
     ("pq.mkv", PQ, "ffv1", "yuv422p10le"), ("hlg.mov", HLG, "prores_ks", "yuv422p10le")],
)  # fmt: skip
def test_hdr_comes_out_as_the_sdr_picture_that_it_was_made_of(tmp_path, name, transfer, codec, pixels):
    path = hdr(tmp_path / name, transfer, codec, pixels)
    seen = middle(path, tmp_path).astype(float)
    width = W // len(COLOURS)
    for k, colour in enumerate(COLOURS):
        patch = seen[10:60, k * width + 6 : (k + 1) * width - 6].mean(axis=(0, 1))
        wanted = np.array(colour) ** (1 / 2.4) * 255
        if colour == (1.0, 1.0, 1.0):
            assert 222 < patch.min() < 255, "white leaves room for highlights"
        else:
            assert np.abs(patch - wanted).max() < 12, (colour, patch, wanted)
    facts = run(path, tmp_path).payload.facts
    assert facts.transfer == ("smpte2084" if transfer == PQ else "arib-std-b67")
    assert (facts.primaries, facts.matrix, facts.bit_depth) == ("bt2020", "bt2020nc", 10)


FROM_P3 = np.array([[1.2249, -0.2249, 0.0], [-0.0420, 1.0420, 0.0], [-0.0196, -0.0786, 1.0983]])


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "tags", "to_bt709"),
    [
        ("a.mp4", "libx264", "yuv420p", (1, 9, 9), FROM_BT2020),
        ("deep.mkv", "libx265", "yuv420p10le", (14, 9, 9), FROM_BT2020),
        ("p3.mp4", "libx264", "yuv420p", (13, 12, 1), FROM_P3),
        ("p3.mov", "prores_ks", "yuv422p10le", (1, 12, 1), FROM_P3),
        ("alpha.mov", "prores_ks", "yuva444p10le", (1, 12, 1), FROM_P3),
    ],
)
def test_wide_primaries_are_brought_to_those_of_a_standard_screen(tmp_path, name, codec, pixels, tags, to_bt709):
    def setup(context) -> None:
        context.color_trc, context.color_primaries, context.colorspace = tags
        context.color_range = 1

    def frames():
        for i in range(30):
            light = np.clip(bars(i, COLOURS) @ np.linalg.inv(to_bt709).T, 0, 1)
            rgb = av.VideoFrame.from_ndarray(np.round(light ** (1 / 2.4) * 65535).astype(np.uint16), "rgb48le")
            yield rgb.reformat(format=pixels, dst_colorspace=tags[2], dst_color_range=1)

    options = {"x265-params": "log-level=none", "crf": "12"} if codec == "libx265" else {}
    path = encode(tmp_path / name, frames(), codec, pixels, setup, options)
    seen, width = middle(path, tmp_path).astype(float), W // len(COLOURS)
    for k, colour in enumerate(COLOURS):
        patch = seen[10:60, k * width + 6 : (k + 1) * width - 6].mean(axis=(0, 1))
        assert np.abs(patch - np.array(colour) ** (1 / 2.4) * 255).max() < 12, (colour, patch)
    assert run(path, tmp_path).payload.facts.primaries == ("bt2020" if tags[1] == 9 else "smpte432")


def test_the_tone_curve_rises_and_keeps_greys_grey():
    for transfer in (PQ, HLG):
        greys = np.repeat(np.arange(0, 65536, 64, dtype=np.uint16)[None, :, None], 3, axis=2)
        made = tone_map(greys, transfer, BT2020).astype(int)
        assert (np.ptp(made, axis=2) <= 1).all() and (np.diff(made[0, :, 0]) >= 0).all()
        assert made.min() == 0 and made.max() == 255


SETTINGS = SMALL.model_copy(update={"width": 160, "height": 120, "min_side": 64})


def woven(i: int, first: int) -> NDArray[np.uint8]:
    """A frame [240, 320, 3] of two fields half a frame apart, with a bar that moves 12 pixels in between."""
    image = np.full((240, 320, 3), 90, np.uint8)
    for field in (0, 1):
        lines = slice(first if field == 0 else 1 - first, None, 2)
        left = 20 + 24 * (i % 10) + 12 * field
        image[lines, left : left + 40] = 220
    return image


def combs(image: NDArray[np.uint8]) -> float:
    """Share of pixels that differ from both the line above and the one below, the same way."""
    grey = image.astype(float).mean(axis=-1)
    up, down = grey[1:-1] - grey[:-2], grey[1:-1] - grey[2:]
    return float(((np.abs(up) > 20) & (np.abs(down) > 20) & (up * down > 0)).mean())


@pytest.mark.parametrize("first", [0, 1], ids=["top first", "bottom first"])
@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.mpg", "mpeg2video", "yuv420p"), ("a.mp4", "libx264", "yuv420p"), ("a.mov", "prores_ks", "yuv422p10le"),
     ("raw.mov", "rawvideo", "uyvy422"), ("v.mov", "v210", "yuv422p10le"), ("m.mov", "mjpeg", "yuvj422p")],
)  # fmt: skip
def test_interlaced_sources_lose_their_combs_and_no_frame(tmp_path, name, codec, pixels, first):
    order = ["tff", "bff"][first]
    options = {
        "mpeg2video": {"flags": "+ildct+ilme", "b": "8000000"},
        "libx264": {"flags": "+ildct+ilme", "preset": "ultrafast", "crf": "10", "x264-params": f"{order}=1"},
        "prores_ks": {"flags": "+ildct"},
        "mjpeg": {"qscale": "2", "b": "20000000"},
        "rawvideo": {},
        "v210": {},
    }[codec]

    def frames():
        for i in range(75):
            yield av.VideoFrame.from_ndarray(woven(i, first), "rgb24").reformat(format="yuv444p")

    def setup(context) -> None:
        context.field_order = 2 + first
        if codec == "mpeg2video":
            context.framerate = Fraction(25)

    path = tmp_path / name
    fielded = interlace(frames(), first, pixels)
    encode(path, fielded, codec, pixels, setup, options)
    row = run(path, tmp_path, SMALL.model_copy(update={"width": 320, "height": 240}))
    assert row.payload is not None, row.detail
    facts = row.payload.facts
    assert facts.frames == 75 and facts.field_order == order
    for picture_ in read_frames(tmp_path / row.payload.clips[0].path):
        assert combs(woven(3, first)) > 0.04 and combs(picture_) < 0.004


def interlace(frames: Iterable[av.VideoFrame], first: int, pixels: str):
    """The frames marked as interlaced, and converted field by field."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=320, height=240, format=av.VideoFormat("yuv444p"), time_base=Fraction(1, FPS))
    graph.link_nodes(
        source,
        graph.add("setparams", f"field_mode={['tff', 'bff'][first]}"),
        graph.add("scale", "interl=1"),
        graph.add("format", pixels),
        graph.add("buffersink"),
    ).configure()
    for frame in frames:
        graph.vpush(frame)
        yield graph.vpull()


def test_progressive_frames_between_interlaced_ones_stay_as_they_are(tmp_path):
    """And those before the first interlaced one: all come out, in order."""

    def frames():
        for i in range(48):
            plain = av.VideoFrame.from_ndarray(picture(i, 320, 240), "rgb24").reformat(format="yuv444p")
            yield from interlace([plain], 0, "yuv422p10le") if 10 <= i < 20 else [plain.reformat(format="yuv422p10le")]

    def setup(context) -> None:
        context.field_order = 2

    path = encode(tmp_path / "mixed.mkv", frames(), "ffv1", "yuv422p10le", setup)
    row = run(path, tmp_path)
    assert row.payload.facts.frames == 48
    assert numbers(tmp_path, row.payload.clips[0]) == list(range(0, 27, 3))


def rubbish(i: int) -> NDArray[np.uint8]:
    """RGBA [96, 144, 4]: a red block that moves, opaque; below all else noise that is fully transparent."""
    image = np.random.default_rng(i).integers(0, 256, (H, W, 4), dtype=np.uint8)
    image[..., 3] = 0
    image[30:60, 20 + 2 * i : 60 + 2 * i] = (200, 40, 40, 255)
    return image


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("a.mov", "qtrle", "argb", {}),
        ("a.mov", "prores_ks", "yuva444p10le", {}),
        ("a.mov", "png", "rgba", {}),
        ("a.mkv", "ffv1", "yuva420p", {}),
        ("a.webm", "libvpx-vp9", "yuva420p", {"deadline": "realtime", "cpu-used": "8", "b": "2000000"}),
        ("a.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0", "b": "2000000"}),
    ],
)
def test_what_is_transparent_is_black_and_not_the_rubbish_below_it(tmp_path, name, codec, pixels, options):
    pictures = (av.VideoFrame.from_ndarray(rubbish(i), "rgba").reformat(format=pixels) for i in range(30))
    path = encode(tmp_path / name, pictures, codec, pixels, None, options)
    seen = middle(path, tmp_path).astype(int)  # frame 12 of the source
    assert seen[4:24].max() < 20 and seen[66:, :].max() < 20
    assert np.abs(seen[36:54, 50:78].mean(axis=(0, 1)) - (200, 40, 40)).max() < 16
    assert run(path, tmp_path).payload.facts.alpha


@pytest.mark.parametrize(
    ("codec", "pixels", "full"),
    [
        ("ffv1", "yuv420p10le", False), ("ffv1", "yuv422p10le", False), ("ffv1", "yuv444p", False),
        ("ffv1", "yuv444p12le", False), ("ffv1", "yuv420p", True), ("ffv1", "yuv444p10le", True),
        ("mjpeg", "yuvj420p", True), ("ffv1", "gray", True), ("ffv1", "gbrp10le", True),
    ],
)  # fmt: skip
def test_deep_and_full_range_pixels_keep_their_brightness(tmp_path, codec, pixels, full):
    def frames():
        for i in range(30):
            grey = np.round(bars(i, [(v, v, v) for v in (0.0, 0.2, 0.5, 0.8, 1.0)]) * 255).astype(np.uint8)
            yield av.VideoFrame.from_ndarray(grey, "rgb24").reformat(format=pixels, dst_color_range=2 if full else 1)

    def setup(context) -> None:
        context.color_range = 2 if full else 1

    path = encode(tmp_path / "a.mkv", frames(), codec, pixels, setup)
    seen = middle(path, tmp_path).astype(float)
    for k, value in enumerate((0.0, 0.2, 0.5, 0.8, 1.0)):
        assert abs(seen[10:60, 28 * k + 6 : 28 * k + 22].mean() - 255 * value) < 4, (k, value)
    facts = run(path, tmp_path).payload.facts
    assert facts.bit_depth == (10 if "10" in pixels else 12 if "12" in pixels else 8) and not facts.alpha
    assert facts.field_order == "progressive"
