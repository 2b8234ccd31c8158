"""The largest tensor that alignment makes: nothing of N² elements, watched at every operator."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from matrix_train.attention.maps import Taps
from matrix_train.bench.workload import Workload


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the largest tensor that any operator returns, by elements."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0
        self.shape: tuple[int, ...] = ()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.numel() > self.elements:
                self.elements, self.shape = leaf.numel(), tuple(leaf.shape)
        return result


def largest_of_attention(work: Workload) -> int:
    """Elements of the largest tensor of one tapped attention, forward and backward, with both families' taps.

    Its own output, N × width, is among them; q, k and v, as large each, are made before it.
    """
    attn = work.backbone.model.transformer_blocks[0].attn1
    shape = (1, attn.heads, work.tokens, work.options.model_config["attention_head_dim"])
    q, k, v = (torch.randn(shape, device=work.device, dtype=work.inputs.clean.dtype).requires_grad_() for _ in range(3))
    taps = Taps(work.roles, ("v2t", "v2v"), work.options.mode)
    with LargestTensor() as largest:
        out, maps = work.backbone.collector.read(q, k, v, taps)
        torch.autograd.backward([out.sum(), *(values.square().sum() for values in maps.values())])
    return int(largest.elements)


def largest_of_block(work: Workload) -> int:
    """The same of a whole tapped block, feed-forward layer included, without checkpointing and rotary positions."""
    index = work.options.align.sga_blocks[0]
    model, config, dtype = work.backbone.model, work.options.model_config, work.inputs.clean.dtype
    width = config["num_attention_heads"] * config["attention_head_dim"]

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, device=work.device, dtype=dtype)

    video, text = noise(1, work.roles.video_length, width), noise(1, work.roles.text_length, width)
    temb = noise(1, config["time_embed_dim"])
    with LargestTensor() as largest:
        (video_out, text_out), maps = work.backbone.collector.collect(
            work.roles,
            {(index, "v2t")},
            lambda: model.transformer_blocks[index](video.requires_grad_(), text.requires_grad_(), temb),
        )
        torch.autograd.backward([video_out.sum(), text_out.sum(), maps[index, "v2t"].square().sum()])
    return int(largest.elements)
