"""The largest tensor that alignment makes: nothing of N² elements, watched at every operator."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from matrix_train.attention.maps import Direction, Layout, Taps
from matrix_train.bench.workload import Workload, build_backbone


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
    """Elements of the largest tensor of one tapped attention of video, forward and backward, with every direction's
    taps that it holds.

    Its own output, N × width, is among them; q, k and v, as large each, are made before it.
    """
    backbone, heads, tokens = work.backbone, work.options.model_config["num_attention_heads"], work.tokens
    shape = (1, heads, tokens, work.options.model_config["attention_head_dim"])
    q, k, v = (torch.randn(shape, device=work.device, dtype=work.inputs.clean.dtype).requires_grad_() for _ in range(3))
    own: tuple[Direction, ...] = tuple(
        d for d in ("v2t", "v2v") if backbone.attentions[d] == backbone.attentions["v2v"]
    )
    text = work.roles.text_length if "v2t" in own else 0
    layout = Layout.joint(text, work.roles.video_length) if text else Layout.alone(work.roles.video_length)
    taps = Taps(work.roles, own, work.options.mode, layout=layout)
    with LargestTensor() as largest:
        out, maps = work.backbone.collector.read(q, k, v, taps)
        torch.autograd.backward([out.sum(), *(values.square().sum() for values in maps.values())])
    return int(largest.elements)


def largest_of_blocks(work: Workload) -> int:
    """The same of a model of tapped blocks alone, feed-forward layers included, without checkpointing."""
    align = work.options.align
    few = len({*align.sga_blocks, *align.spa_blocks})
    backbone = build_backbone(replace(work.options, blocks=few, checkpointing="none"), work.device)
    inputs = work.inputs
    with LargestTensor() as largest:
        output, maps = backbone.predict(inputs.clean, inputs.conditions, inputs.timesteps, work.roles)
        torch.autograd.backward([output.sum(), *(values.square().sum() for values in maps.values())])
    return int(largest.elements)
