"""The sam2 package's own way through a clip: what ours is held against, in results and in speed."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.engines.sam2.frames import to_input


def state_of(network: Any, frames: NDArray[np.uint8], device: torch.device) -> dict[str, Any]:
    """What `init_state` makes of a folder of pictures, here of frames [T, H, W, 3], all of them on the device."""
    size = network.image_size
    images = torch.cat([to_input(f, size, device, "bicubic") for f in frames])
    keys = ("point_inputs_per_obj", "mask_inputs_per_obj", "cached_features", "constants", "output_dict_per_obj",
            "temp_output_dict_per_obj", "frames_tracked_per_obj")  # fmt: skip
    return {key: {} for key in keys} | {
        "images": images,
        "num_frames": len(frames),
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": False,
        "video_height": frames.shape[1],
        "video_width": frames.shape[2],
        "device": device,
        "storage_device": device,
        "obj_id_to_idx": OrderedDict(),
        "obj_idx_to_id": OrderedDict(),
        "obj_ids": [],
    }


def both_ways(network: Any, state: dict[str, Any], at: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """(frame, masks [K, H, W]) from frame `at` to the end, then back to the start, as the package's examples do it."""
    for backwards in (False, True):
        if backwards and at == 0:
            return
        for t, _, logits in network.propagate_in_video(state, start_frame_idx=at, reverse=backwards):
            yield t, (logits[:, 0] > 0).cpu().numpy()


def alone(network: Any, frames: NDArray[np.uint8], at: int, box: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Masks [T, H, W] of one object."""
    state = state_of(network, frames, torch.device("cpu"))
    network.add_new_points_or_box(state, frame_idx=at, obj_id=1, box=box)
    masks = np.zeros(frames.shape[:3], dtype=bool)
    for t, found in both_ways(network, state, at):
        masks[t] = found[0]
    return masks
