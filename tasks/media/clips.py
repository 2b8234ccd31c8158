"""Read and write the normalised clips: the one place that knows PyAV's encoder settings and COCO's run lengths."""

import os
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import IO, Literal

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray
from pycocotools import mask as coco
from pydantic import Field

from schemas.rle import fill, run_lengths
from schemas.settings import Settings
from schemas.tracks import Rle


class EncodeSettings(Settings):
    crf: int = Field(default=18, ge=0, le=51, description="x264's quality: 0 lossless, 18 visually so, 51 worst")
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = Field(
        default="fast", description="x264's preset: slower ones make smaller files of the same quality"
    )
    gop: int = Field(default=12, ge=1, le=250, description="Frames from one key frame to the next; always the same")


def encode_clip(frames: Sequence[NDArray[np.uint8]], fps: Fraction, settings: EncodeSettings) -> bytes:
    """An mp4 (H.264, 4:2:0, BT.709, index in front) of RGB frames uint8 [H, W, 3]; H and W even.

    The same frames give the same bytes in every process: one thread, a fixed key-frame distance, and no encoder version
    or date in the file. Raises av.FFmpegError.
    """
    height, width, _ = frames[0].shape
    # Faststart has to reopen what it wrote, so it needs a file; this one lives in memory and leaves nothing behind.
    file = os.memfd_create("clip")
    try:
        target = f"/proc/self/fd/{file}"
        flags = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(target, "w", format="mp4", options=flags) as container:
            # The macroblock tree reads memory that it has not written: bytes would differ from run to run (decision 5).
            params = f"keyint={settings.gop}:min-keyint={settings.gop}:scenecut=0:open-gop=0:mbtree=0"
            stream = container.add_stream(
                "libx264", rate=fps,
                options={"crf": str(settings.crf), "preset": settings.preset, "x264-params": params},
            )  # fmt: skip
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            codec = stream.codec_context
            codec.thread_count = 1
            codec.flags |= av.codec.context.Flags.bitexact
            codec.colorspace = codec.color_primaries = codec.color_trc = 1  # BT.709
            codec.color_range = ColorRange.MPEG
            # x264 writes its version and options into the stream; unit type 6 is where.
            plain = av.BitStreamFilterContext("filter_units=remove_types=6", "h264")
            to_yuv = VideoReformatter()
            for i, frame in enumerate(frames):
                picture = to_yuv.reformat(
                    av.VideoFrame.from_ndarray(frame, "rgb24"), format="yuv420p", threads=1,
                    dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG,
                )  # fmt: skip
                picture.pts, picture.time_base = i, 1 / fps
                for packet in stream.encode(picture):
                    container.mux(plain.filter(packet))
            for packet in stream.encode():
                container.mux(plain.filter(packet))
            container.mux(plain.filter(None))
        return os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)


def read_frames(clip: str | Path | IO[bytes], count: int | None = None) -> NDArray[np.uint8]:
    """All frames of a normalised clip, or its first `count`: RGB uint8 [T, H, W, 3]. OSError or av.FFmpegError."""
    with av.open(str(clip) if isinstance(clip, Path) else clip, "r") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        frames = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(stream), count)]
    return np.stack(frames).astype(np.uint8, copy=False)


def encode_mask(mask: NDArray[np.bool_]) -> Rle | None:
    """COCO compressed RLE of a binary mask [H, W]; None when it is empty."""
    if not mask.any():
        return None
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts.decode("ascii")


def decode_mask(rle: Rle | None, height: int, width: int) -> NDArray[np.bool_]:
    """Binary mask [H, W]; all False for None. Raises ValueError when the run lengths do not fill the size."""
    if rle is None:
        return np.zeros((height, width), dtype=bool)
    return fill(run_lengths(rle, height, width), height, width)
