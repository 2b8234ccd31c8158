"""Masks of the first frame followed through a generated video, by optical flow.

Good for videos in which things move by a few pixels a frame and stay in view; a thing that is lost is not found again.
"""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray


def follow(video: NDArray[np.uint8], first: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """video: RGB [T, H, W, 3]; first: [H, W]. Masks [T, H, W].

    Each pixel of a frame asks the flow back to the frame before whether it was inside there (Kroeger et al., "Fast
    optical flow using dense inverse search", arXiv 1603.03590).
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # DIS cuts its work by threads, and its result depends on the cut
    try:
        flow = getattr(cv2, "DISOpticalFlow_create")(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # noqa: B009
        greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
        rows, columns = np.indices(first.shape).astype(np.float32)
        masks = [first.astype(np.float32)]
        for before, now in pairwise(greys):
            back = flow.calc(now, before, None)
            masks.append(cv2.remap(masks[-1], columns + back[..., 0], rows + back[..., 1], cv2.INTER_LINEAR))
    finally:
        cv2.setNumThreads(threads)
    return np.stack(masks) > 0.5
