"""Transformers' `Sam2VideoModel` and `Sam3TrackerVideoModel` as a `Model`.

The session is made anew for every frame, out of what we keep. So memory is bounded in the same way as with the sam2
package, objects may start on different frames, and the features of a frame come from the same album. The model runs its
objects one after another, its memory encoder all together.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    Sam2ImageProcessor,
    Sam2VideoInferenceSession,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam2VideoVideoProcessor,
    Sam3TrackerVideoModel,
)

from tasks.engines.hub import where
from tasks.engines.sam2.frames import HALVES, IMAGENET, to_input
from tasks.engines.sam2.memory import Features, Memory, Prompt
from tasks.engines.weights import read_json
from tasks.errors import UserError

UNNEEDED = ("pred_masks", "high_res_masks")
"""Parts of a frame's output that no later frame looks at; the second is 4 MB an object at 1024."""


KINDS: dict[str, Any] = {
    "sam2_video": Sam2VideoModel,
    "sam3_tracker_video": Sam3TrackerVideoModel,
    "sam3_video": Sam3TrackerVideoModel,  # a checkpoint of all of SAM3: its detector is left out
}
"""Classes by the type of model that config.json names."""

LICENCE = ", under Meta's SAM License"
"""Of SAM3: neither Apache nor MIT, and its checkpoints are gated."""


class Ported:
    """A `Sam2VideoModel` or `Sam3TrackerVideoModel` on its device."""

    def __init__(self, network: Any, device: torch.device) -> None:
        self.network = network.to(device).eval()
        self.device = device
        config = network.config
        self.size: int = config.image_size
        third = isinstance(network, Sam3TrackerVideoModel)
        self.spread, self.licence = (HALVES, LICENCE) if third else (IMAGENET, "")
        self.maps = config.num_maskmem - 1
        self.pointers = config.max_object_pointers_in_encoder - 1
        self.positions: list[torch.Tensor] = []
        size = {"height": self.size, "width": self.size}
        self.processor = Sam2VideoProcessor(
            Sam2ImageProcessor(size=size), Sam2VideoVideoProcessor(size=size), target_size=self.size
        )

    def look(self, frame: NDArray[np.uint8]) -> Features:
        pixels = to_input(frame, self.size, self.device, "bilinear", self.spread).to(self.network.dtype)
        found = self.network.get_image_features(pixels, return_dict=True)
        self.positions = list(found.fpn_position_encoding)  # the same for every frame
        return tuple(found.fpn_hidden_states)

    def prompt(
        self, features: Features, t: int, prompts: Sequence[Prompt], shape: tuple[int, int], length: int
    ) -> tuple[list[Memory], torch.Tensor]:
        session = self._session(features, t, shape, length)
        ids = list(range(len(prompts)))
        given: dict[str, Any] = (
            {"input_boxes": [[p.tolist() for p in prompts]]}
            if prompts[0].ndim == 1
            else {"input_masks": [np.asarray(p) for p in prompts]}
        )
        # It empties the list of IDs.
        self.processor.add_inputs_to_inference_session(session, frame_idx=t, obj_ids=list(ids), **given)
        logits = self.network(session, frame_idx=t).pred_masks
        memories = [Memory(t, session.output_dict_per_obj[k]["cond_frame_outputs"][t]) for k in ids]
        for memory in memories:
            _slim(memory.prompt)
        return memories, logits[:, 0]

    def follow(
        self, features: Features, t: int, memories: Sequence[Memory], backwards: bool, length: int
    ) -> torch.Tensor:
        session = self._session(features, t, (1, 1), length)
        for k, memory in enumerate(memories):
            session.obj_id_to_idx(k)
            session.output_dict_per_obj[k] = {
                "cond_frame_outputs": {memory.at: memory.prompt},
                "non_cond_frame_outputs": memory.recent,
            }
        logits: torch.Tensor = self.network(session, frame_idx=t, reverse=backwards).pred_masks
        for memory in memories:
            _slim(memory.recent[t])
        return logits[:, 0]

    def _session(self, features: Features, t: int, shape: tuple[int, int], length: int) -> "_Session":
        session = _Session(
            video_height=shape[0],
            video_width=shape[1],
            inference_device=self.device,
            inference_state_device=self.device,
            dtype=self.network.dtype,
        )
        session.length = length
        session.cache.cache_vision_features(t, {"vision_feats": list(features), "vision_pos_embeds": self.positions})
        return session


class _Session(Sam2VideoInferenceSession):
    """A session without frames: their features come ready."""

    length: int

    @property
    def num_frames(self) -> int:
        return self.length


def _slim(output: dict[str, Any]) -> None:
    for key in UNNEEDED:
        output.pop(key, None)


def check_folder(folder: Path) -> None:
    """UserError where a local folder plainly holds none of these models. Reads no weights."""
    kind = read_json(folder / "config.json", "sam2").get("model_type")
    if kind not in KINDS:
        raise UserError(
            f"sam2: {folder} holds a model of type {kind!r}, not 'sam2_video': use a SAM2 or SAM3 video checkpoint"
        )
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"sam2: {folder} has no .safetensors file: download the checkpoint again, or convert it")


def load(checkpoint: str, revision: str | None, image_size: int | None, dtype: torch.dtype) -> Any:
    """The network of a model folder or of a name on the hub. UserError where it cannot be had whole."""
    hub = logging.getLogger("transformers")
    before = hub.level
    try:
        config = AutoConfig.from_pretrained(checkpoint, **where(checkpoint, revision))
        if config.model_type not in KINDS:
            raise ValueError(f"a model of type {config.model_type!r}, not of {', '.join(KINDS)}")
        if image_size is not None:
            _resize(config, image_size)
        hub.setLevel(logging.ERROR)  # what is missing is our error below, not a table of theirs
        loaded: Any = KINDS[config.model_type].from_pretrained(
            checkpoint, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True,
            **where(checkpoint, revision),
        )  # fmt: skip
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"sam2: {checkpoint} cannot be loaded: {(str(error).splitlines() or ['?'])[0][:200]}") from None
    finally:
        hub.setLevel(before)
    network, told = loaded
    missing, unknown = sorted(told["missing_keys"]), sorted(told["unexpected_keys"])
    if missing or unknown:
        raise UserError(
            f"sam2: the weights of {checkpoint} do not go with its config.json: {len(missing)} tensors are missing, "
            f"{len(unknown)} unknown, first {(missing + unknown)[0]!r}"
        )
    return network


def _resize(config: Any, size: int) -> None:
    """Another input size for the same weights: every place where the configuration says it."""
    if config.model_type != "sam2_video":
        # SAM3's does so by itself, for patches of 14 pixels.
        (config if config.model_type == "sam3_tracker_video" else config.tracker_config).image_size = size
        return
    levels = [[size // stride] * 2 for stride in (4, 8, 16)]
    config.image_size = config.prompt_encoder_config.image_size = size
    config.vision_config.backbone_feature_sizes = levels
    config.vision_config.backbone_config.image_size = [size, size]
    config.memory_attention_rope_feat_sizes = levels[-1]
