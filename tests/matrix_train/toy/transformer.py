"""A diffusion transformer of two blocks, video before text in one attention, without diffusers' own layers."""

from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from matrix_train.attention.maps import Layout
from matrix_train.backbones.collector import Tap


class Processor:
    """With a tap, or plain."""

    def __init__(self, tap: Tap | None = None) -> None:
        self.tap = tap

    def __call__(self, attention: "Attention", joint: Tensor, text: int) -> Tensor:
        q, k, v = (
            project(joint).unflatten(2, (2, -1)).transpose(1, 2)
            for project in (attention.query, attention.key, attention.value)
        )
        if self.tap is None:
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            video, words = slice(0, joint.shape[1] - text), slice(joint.shape[1] - text, joint.shape[1])
            out = self.tap.attend(q, k, v, Layout(words, video, words, video))
        return attention.out(out.transpose(1, 2).flatten(2))


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.processor = Processor()

    def set_processor(self, processor: Processor) -> None:
        self.processor = processor

    def forward(self, joint: Tensor, text: int) -> Tensor:
        return self.processor(self, joint, text)


class ToyBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mix, self.widen = nn.LayerNorm(width), Attention(width), nn.Linear(width, width)

    def forward(self, joint: Tensor, text: int) -> Tensor:
        joint = joint + self.mix(self.norm(joint), text)
        return joint + self.widen(joint).tanh()


class ToyTransformer(ModelMixin, ConfigMixin, PeftAdapterMixin):
    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self, in_channels: int = 32, out_channels: int = 16, width: int = 32, text_width: int = 48, depth: int = 2,
        tokens: int = 48,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embed, self.read = nn.Linear(in_channels, width), nn.Linear(text_width, width)
        self.time = nn.Linear(1, width)
        self.layers = nn.ModuleList(ToyBlock(width) for _ in range(depth))
        self.unembed = nn.Linear(width, out_channels)
        self.gradient_checkpointing = False

    def forward(self, states: Tensor, prompt: Tensor, timesteps: Tensor) -> Tensor:
        """states: [B, F, C, h, w]."""
        text, shape = prompt.shape[1], states.shape
        video = self.embed(states.permute(0, 1, 3, 4, 2).flatten(1, 3))
        joint = torch.cat([video, self.read(prompt)], dim=1) + self.time(timesteps[:, None, None].to(video) / 1000)
        for block in self.layers:
            again: Any = self._gradient_checkpointing_func if self.gradient_checkpointing else None
            joint = again(block, joint, text) if again and torch.is_grad_enabled() else block(joint, text)
        out = self.unembed(joint[:, :-text])
        return out.view(shape[0], shape[1], *shape[3:], -1).permute(0, 1, 4, 2, 3)
