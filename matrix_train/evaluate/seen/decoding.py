"""What `footage.py` runs in the child, bytes to bytes: a video decoded and measured, and the frames that are kept."""

import os
from statistics import fmean
from urllib.parse import unquote_to_bytes

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from matrix_train.evaluate.protocol.prompt import STRIDE, Picture, chosen_frames
from matrix_train.evaluate.seen.footage import HEADER, WIDE, Measures, Order, Report
from tasks.ingest.decode import clockwise
from tasks.ingest.recording import OPENING

_TOP = 0.05

cv2.setNumThreads(1)


def watch(request: bytes) -> bytes:
    """`Order` to `HEADER`, `Report` and its frames."""
    kept: dict[int, Picture] = {}
    try:
        report = _watch(Order.model_validate_json(request), kept)
    except (av.FFmpegError, OSError) as error:
        report = Report(problem=f"cannot be decoded: {error.strerror}: encode it again")
    except ValueError as error:
        report = Report(problem=str(error))
    text = report.model_dump_json().encode()
    return b"".join((HEADER.pack(len(text)), text, *(kept[frame].data for frame in report.kept)))


def _watch(order: Order, kept: dict[int, Picture]) -> Report:
    """Fills `kept`. ValueError where it holds no video, fewer than two frames, several sizes, or too much."""
    meter = _Meter()
    # By descriptor: the name plays no part in how the content is read.
    file = os.open(os.fsdecode(unquote_to_bytes(order.path)), os.O_RDONLY)
    with av.open(f"/proc/self/fd/{file}", options=OPENING, metadata_errors="replace") as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        fps = float(container.streams.video[0].average_rate or 0)
        for number, frame in enumerate(container.decode(video=0)):
            turn = clockwise(frame)
            height, width = (frame.width, frame.height) if turn % 180 else (frame.height, frame.width)
            if number and kept[0].shape != (height, width, 3):
                raise ValueError(f"frame {number} has another size than the first")
            if number and not order.whole and (number - 1) % STRIDE:
                del kept[number - 1]  # it was kept as it might have been the last
            if (len(kept) + 1) * height * width * 3 > order.most_bytes:
                kept_are, way = ("all", "give it a tracks file, or ") if order.whole else (f"every {STRIDE}th", "")
                raise ValueError(
                    f"too large: its frames of {width} x {height}, of which {kept_are} are kept, fill "
                    f"{order.most_bytes >> 20} MiB before number {number}: {way}make it shorter or smaller"
                )
            # Rows of most widths are padded, and a phone's picture lies on its side: handed on is what is seen, whole.
            kept[number] = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), -turn // 90), np.uint8)
            meter.see(kept[number])
    if not kept or not fps:
        raise ValueError("no frame that can be decoded, or no frame rate")
    chosen_frames(meter.count)  # says so where there is one frame only
    return Report(
        count=meter.count, fps=fps, height=height, width=width, kept=tuple(kept), measures=meter.measures(fps)
    )


class _Meter:
    """Measures frames as they come; keeps two."""

    def __init__(self) -> None:
        self.count = 0
        self._last: list[NDArray[np.uint8]] = []
        self._jumps: list[float] = []
        self._flows: list[float] = []
        self._edges: list[float] = []

    def see(self, picture: Picture) -> None:
        high = max(1, round(picture.shape[0] * WIDE / picture.shape[1]))
        small = cv2.resize(picture, (WIDE, high), interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        self.count += 1
        self._edges.append(float(cv2.Laplacian(grey, cv2.CV_64F).var()))
        if self._last:
            start = np.zeros((*grey.shape, 2), np.float32)
            flow = cv2.calcOpticalFlowFarneback(self._last[-1], grey, start, 0.5, 3, 15, 3, 5, 1.2, 0)
            far = np.sort(np.linalg.norm(flow, axis=2), axis=None)
            self._flows.append(float(far[-max(1, round(_TOP * far.size)) :].mean()) / WIDE)
        if len(self._last) == 2:
            before, between = (frame.astype(float) for frame in self._last)
            self._jumps.append(float(np.abs(between - (before + grey) / 2).mean()) / 255)
        self._last = [*self._last[-1:], grey]

    def measures(self, fps: float) -> Measures:
        return Measures(
            smoothness=1 - fmean(self._jumps or [0.0]), dynamics=fmean(self._flows) * fps, sharpness=fmean(self._edges)
        )
