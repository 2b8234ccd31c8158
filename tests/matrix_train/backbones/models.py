"""Tiny transformers of diffusers' own classes, one of every kind that can be trained, and input for them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from matrix_train.attention.maps import Direction, Layout
from matrix_train.attention.roles import RoleWeights
from matrix_train.backbones import Backbone, CogVideoX, Wan21, Wan22
from tests.matrix_train.reference import FLAVOURS, TINY, two_samples

WAN: dict[str, Any] = {
    "num_attention_heads": 2, "attention_head_dim": 16, "text_dim": 24, "freq_dim": 16, "ffn_dim": 64, "num_layers": 3,
}  # fmt: skip
KINDS: dict[str, tuple[type[Backbone], dict[str, Any]]] = {
    **{name: (CogVideoX, {**TINY, **changes}) for name, changes in FLAVOURS.items()},
    "wan21": (Wan21, {**WAN, "in_channels": 36, "out_channels": 16, "image_dim": 32, "added_kv_proj_dim": 32}),
    "wan22": (Wan22, {**WAN, "in_channels": 48, "out_channels": 48}),
}
"""Three blocks each."""

CLIPS = {"1.5-i2v": (13, 64, 96), "wan22": (9, 128, 128)}
CLIP = (9, 64, 96)

PROMPT = 12
"""Tokens of text that are no padding."""


def clip_of(flavour: str) -> tuple[int, int, int]:
    return CLIPS.get(flavour, CLIP)


def stock(flavour: str = "5b-i2v", dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """diffusers' model, the same weights each time. What it draws tiny by default is drawn larger."""
    torch.manual_seed(0)
    kind, config = KINDS[flavour]
    return nn.Module.to(kind.model_class(**{**config, **changes}), dtype).eval()


def made(flavour: str = "5b-i2v", dtype: torch.dtype = torch.float32, **changes: Any) -> Backbone:
    return KINDS[flavour][0](stock(flavour, dtype, **changes))


def plan_of(flavour: str) -> dict[int, list[Direction]]:
    return {0: ["v2t"], 1: ["v2t", "v2v" if flavour.startswith("wan") else "t2v"], 2: ["v2v"]}


def batch(
    backbone: Backbone, flavour: str = "5b-i2v", dtype: torch.dtype = torch.float32
) -> tuple[dict[str, Any], RoleWeights]:
    """Two samples; where padding is zero, prompts are of PROMPT tokens."""
    generator = torch.Generator().manual_seed(1)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(dtype)

    latents, conditions, _ = backbone.blank(2, *clip_of(flavour))
    given = {name: noise(value) for name, value in conditions.items()}
    if flavour.startswith("wan"):
        given["prompt"][:, PROMPT:] = 0
    inputs = {"latents": noise(latents), "conditions": given, "timesteps": torch.tensor([10, 700])}
    grid = backbone.grid(*clip_of(flavour))
    return inputs, RoleWeights.build(*two_samples(backbone.prompt_shape[0], grid.cells))


def stock_output(flavour: str, model: Any, backbone: Any, inputs: Mapping[str, Any]) -> Tensor:
    """What diffusers' own forward gives on the channels that the model knows."""
    latents, given = inputs["latents"], inputs["conditions"]
    if flavour == "wan21":
        states = torch.cat([latents, given["frames"][:, :, :20]], dim=2).transpose(1, 2)
        return model(
            states, inputs["timesteps"], given["prompt"], given["vision"], return_dict=False
        )[0].transpose(1, 2)  # fmt: skip
    if flavour == "wan22":
        # As the pipeline puts it together.
        mask = torch.ones(1, 1, *latents.transpose(1, 2).shape[2:], dtype=latents.dtype)
        mask[:, :, 0] = 0
        states = (1 - mask) * given["image"].transpose(1, 2) + mask * latents.transpose(1, 2)
        steps = torch.stack([(mask[0, 0][:, ::2, ::2] * t).flatten() for t in inputs["timesteps"]])
        return model(states, steps, given["prompt"], return_dict=False)[0].transpose(1, 2)
    known, rotary = model.config.in_channels - 16, None
    if model.config.use_rotary_positional_embeddings:
        _, frames, _, height, width = latents.shape
        rotary = backbone._rotary_tables(frames, height // 2, width // 2, torch.device("cpu"))
    return model(
        hidden_states=torch.cat([latents, given["frames"][:, :, :known]], dim=2),
        encoder_hidden_states=given["prompt"],
        timestep=inputs["timesteps"],
        ofs=None if model.config.ofs_embed_dim is None else torch.full((1,), 2.0, dtype=latents.dtype),
        image_rotary_emb=rotary,
        return_dict=False,
    )[0]


def attention_of(flavour: str, block: int, direction: Direction) -> tuple[int, Layout | None]:
    """Which call of attention holds it, counted from the first block on, and how it lies there. None: joint."""
    if not flavour.startswith("wan"):
        return block, None
    cells = 3 * 4 * (4 if flavour == "wan22" else 6)
    calls = 3 if flavour == "wan21" else 2  # of video, of CLIP's tokens, of text
    return (calls * block, Layout.alone(cells)) if direction == "v2v" else (
        calls * (block + 1) - 1, Layout.cross(512, cells)
    )  # fmt: skip


def gradients(backbone: Backbone, inputs: dict[str, Any], roles: RoleWeights | None) -> list[Tensor]:
    prediction, maps = backbone.predict(**inputs, roles=roles)
    value = prediction.square().mean()
    for i, key in enumerate(sorted(maps)):
        value = value + (i + 1) * maps[key].square().sum()
    return [value.detach(), *torch.autograd.grad(value, list(backbone.trainable().values()), allow_unused=True)]


def ready(mode: str, flavour: str = "5b-i2v", dtype: torch.dtype = torch.float32) -> Backbone:
    backbone = made(flavour, dtype)
    backbone.install_taps(plan_of(flavour), mode)
    backbone.add_lora(blocks=(0, 1, 2), rank=4, alpha=2)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in backbone.trainable().values():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return backbone
