"""The clip's mp4: only the frames that are wanted, straight into one array."""

import io
from collections.abc import Sequence

import av
import numpy as np
from numpy.typing import NDArray


class BrokenVideo(Exception):
    """Why the mp4 does not hold the frames that its sample promises, in one line."""


def decode(mp4: bytes, wanted: Sequence[int], frames: int, out: NDArray[np.uint8]) -> None:
    """Fills `out`, RGB [len(wanted), height, width, 3], with the frames `wanted`, ascending.

    frames: how many there must be. Decoding ends with the last wanted frame; where that is the clip's last, that
    nothing follows is checked too. BrokenVideo.
    """
    height, width = out.shape[1:3]
    places = {frame: place for place, frame in enumerate(wanted)}
    count = 0
    try:
        with av.open(io.BytesIO(mp4), "r", format="mp4") as container:
            if not container.streams.video:
                raise BrokenVideo("no video stream")
            stream = container.streams.video[0]
            if stream.frames != frames:
                raise BrokenVideo(f"{stream.frames} frames, not {frames}")
            # A worker is one of several: threads of its own would only fight the others for cores.
            stream.thread_type = "NONE"
            for frame in container.decode(stream):
                if (frame.height, frame.width) != (height, width):
                    raise BrokenVideo(f"frame {count} is {frame.height} x {frame.width}, not {height} x {width}")
                if count in places:
                    out[places[count]] = frame.to_ndarray(format="rgb24")
                count += 1
                if count > wanted[-1] and count < frames:
                    return
    except av.error.FFmpegError as error:
        raise BrokenVideo(f"frame {count}: {error.strerror}") from None
    if count != frames:
        raise BrokenVideo(f"{count} frames can be decoded, not {frames}")
