"""The authors' `sam2` package as a `Model`: its own modules, with all objects of a frame in one batch.

`SAM2VideoPredictor` runs its objects one after another and keeps every frame's outputs. Here the memories of the
objects are gathered one by one, as it does (`SAM2Base._prepare_memory_conditioned_features`), and then go through
memory attention, mask decoder and memory encoder together: the same numbers, to rounding (test_original.py).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the usual name
from numpy.typing import NDArray

from tasks.engines.sam2.frames import to_input, to_mask_input
from tasks.engines.sam2.memory import Features, Memory, Output, Prompt

Shape = tuple[int, ...]


class Original:
    """A `SAM2VideoPredictor` on its device."""

    licence = ""

    def __init__(self, network: Any, device: torch.device, in_powers_of_two: bool = False) -> None:
        """in_powers_of_two: fill batches up to 1, 2, 4, 8 …, so that compiled parts meet few shapes."""
        self.network = network.to(device)
        self.device = device
        self.in_powers_of_two = in_powers_of_two
        self.maps = network.num_maskmem - 1
        self.pointers = network.max_obj_ptrs_in_encoder - 1
        self.positions: list[torch.Tensor] = []
        self.sizes: list[tuple[int, int]] = []
        self.map_position: torch.Tensor | None = None

    def look(self, frame: NDArray[np.uint8]) -> Features:
        pixels = to_input(frame, self.network.image_size, self.device, "bicubic")
        _, features, positions, sizes = self.network._prepare_backbone_features(self.network.forward_image(pixels))
        self.positions, self.sizes = positions, sizes  # the same for every frame
        return tuple(features)

    def prompt(
        self, features: Features, t: int, prompts: Sequence[Prompt], shape: tuple[int, int], length: int
    ) -> tuple[list[Memory], torch.Tensor]:
        net, k = self.network, len(prompts)
        points = masks = None
        if prompts[0].ndim == 1:
            corners = torch.tensor(np.stack(prompts), dtype=torch.float32, device=self.device).view(k, 2, 2)
            scale = torch.tensor([shape[1], shape[0]], device=self.device) / net.image_size
            labels = torch.tensor([[2, 3]], dtype=torch.int32, device=self.device).expand(k, 2)
            points = {"point_coords": corners / scale, "point_labels": labels}
        else:
            masks = torch.cat([to_mask_input(np.asarray(m, bool), net.image_size, self.device) for m in prompts])
        with torch.compiler.set_stance("force_eager"):  # rare, and every kind of prompt would be compiled anew
            return self._prompted(features, t, points, masks, k, length)

    def _prompted(
        self, features: Features, t: int, points: Output | None, masks: torch.Tensor | None, k: int, length: int
    ) -> tuple[list[Memory], torch.Tensor]:
        net = self.network
        out = net.track_step(
            frame_idx=t,
            is_init_cond_frame=True,
            current_vision_feats=[x.expand(-1, k, -1) for x in features],
            current_vision_pos_embeds=[x.expand(-1, k, -1) for x in self.positions],
            feat_sizes=self.sizes,
            point_inputs=points,
            mask_inputs=masks,
            output_dict={},
            num_frames=length,
            run_mem_encoder=False,
        )
        logits = out["pred_masks"]
        # As `propagate_in_video_preflight` does: the memory of a prompt is made from its low-resolution mask.
        full = F.interpolate(logits, size=(net.image_size, net.image_size), mode="bilinear", align_corners=False)
        outputs = self._remember(features, full, out["object_score_logits"], out["obj_ptr"], prompted=True)
        return [Memory(t, o) for o in outputs], logits[:, 0]

    def follow(
        self, features: Features, t: int, memories: Sequence[Memory], backwards: bool, length: int
    ) -> torch.Tensor:
        net, count = self.network, len(memories)
        if self.in_powers_of_two:
            spare = (1 << (count - 1).bit_length()) - count
            memories = [*memories, *[memories[-1]] * spare]
        seen = self._recall(features, t, memories, backwards, length)
        fine = [
            x.permute(1, 2, 0).view(1, -1, *size).expand(len(memories), -1, -1, -1)
            for x, size in zip(features[:-1], self.sizes[:-1], strict=True)
        ]
        _, _, _, logits, full, pointers, scores = net._forward_sam_heads(
            backbone_features=seen, high_res_features=fine, multimask_output=net._use_multimask(False, None)
        )
        outputs = self._remember(features, full, scores, pointers, prompted=False)
        for memory, output in zip(memories[:count], outputs, strict=False):
            memory.recent[t] = output
        found: torch.Tensor = logits[:count, 0]
        return found

    def _recall(
        self, features: Features, t: int, memories: Sequence[Memory], backwards: bool, length: int
    ) -> torch.Tensor:
        """The coarsest features [K, C, h, w] after a look at each object's own past. Equal shapes go together."""
        current, position = features[-1], self.positions[-1]
        groups: dict[Shape, list[int]] = {}
        recalled = [self._past(m, t, backwards, length) for m in memories]
        for k, (past, _, pointer_tokens) in enumerate(recalled):
            groups.setdefault((past.shape[0], pointer_tokens), []).append(k)
        seen: list[torch.Tensor] = [current] * len(memories)
        for (_, pointer_tokens), members in groups.items():
            result = self.network.memory_attention(
                curr=[current.expand(-1, len(members), -1)],
                curr_pos=[position.expand(-1, len(members), -1)],
                memory=torch.cat([recalled[k][0] for k in members], dim=1),
                memory_pos=torch.cat([recalled[k][1] for k in members], dim=1),
                num_obj_ptr_tokens=pointer_tokens,
            )
            for k, one in zip(members, result.split(1, dim=1), strict=True):
                seen[k] = one
        height, width = self.sizes[-1]
        return torch.cat(seen, dim=1).permute(1, 2, 0).reshape(len(memories), -1, height, width)

    def _past(self, memory: Memory, t: int, backwards: bool, length: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        """One object's memory tokens [L, 1, C] and their positions, and how many at the end are pointers."""
        net, sign = self.network, 1 if backwards else -1
        assert self.map_position is not None
        maps = [(net.num_maskmem, memory.prompt)]
        for gap in range(self.maps, 0, -1):
            if (out := memory.recent.get(t + sign * gap)) is not None:
                maps.append((gap, out))
        tokens = [out["maskmem_features"].flatten(2).permute(2, 0, 1) for _, out in maps]
        places = [self.map_position + net.maskmem_tpos_enc[gap - 1] for gap, _ in maps]

        limit = min(length, self.pointers + 1)
        pointers = [(abs(t - memory.at), memory.prompt)]
        for gap in range(1, limit):
            if (out := memory.recent.get(t + sign * gap)) is not None:
                pointers.append((gap, out))
        table = torch.cat([out["obj_ptr"] for _, out in pointers])[:, None]
        gaps = torch.tensor([gap for gap, _ in pointers]).to(self.device, non_blocking=True)
        when = self._pointer_places(gaps, limit)
        pieces = table.shape[-1] // net.mem_dim
        tokens.append(table.reshape(-1, 1, pieces, net.mem_dim).permute(0, 2, 1, 3).flatten(0, 1))
        places.append(when[:, None].repeat_interleave(pieces, dim=0))
        return torch.cat(tokens), torch.cat(places), len(tokens[-1])

    def _pointer_places(self, gaps: torch.Tensor, limit: int) -> torch.Tensor:
        """Encoded distances in frames [n] → [n, C of memories]."""
        from sam2.modeling.sam2_utils import get_1d_sine_pe

        net = self.network
        width = net.hidden_dim if net.proj_tpos_enc_in_obj_ptrs else net.mem_dim
        placed: torch.Tensor = net.obj_ptr_tpos_proj(get_1d_sine_pe(gaps / (limit - 1), dim=width))
        return placed

    def _remember(
        self, features: Features, full: torch.Tensor, scores: torch.Tensor, pointers: torch.Tensor, prompted: bool
    ) -> list[Output]:
        """What each of K objects leaves for later frames. full: mask logits [K, 1, size, size]."""
        maps, positions = self.network._encode_new_memory(
            current_vision_feats=[x.expand(-1, len(full), -1) for x in features],
            feat_sizes=self.sizes,
            pred_masks_high_res=full,
            object_score_logits=scores,
            is_mask_from_pts=prompted,
        )
        if self.map_position is None:
            self.map_position = positions[-1][:1].flatten(2).permute(2, 0, 1)
        maps = maps.to(torch.bfloat16)  # as upstream stores them
        return [{"maskmem_features": m, "obj_ptr": p} for m, p in zip(maps[:, None], pointers[:, None], strict=True)]


def compile_parts(network: Any, image_encoder: bool, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile what `SAM2VideoPredictorVOS` compiles, but for the prompt encoder, and without CUDA graphs.

    CUDA graphs belong to one thread, and an engine is shared by threads; so nothing needs to be cloned either. The
    prompt encoder runs on a constant while tracking.
    """
    mode = "max-autotune-no-cudagraphs" if backend == "inductor" else None
    parts = [(network.memory_attention, True), (network.memory_encoder, False), (network.sam_mask_decoder, False)]
    if image_encoder:
        parts.append((network.image_encoder, False))
    for part, dynamic in parts:
        part.forward = torch.compile(part.forward, mode=mode, fullgraph=True, dynamic=dynamic, backend=backend)
