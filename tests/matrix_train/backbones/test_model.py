"""Every backbone against stock diffusers, on tiny random models of every released kind."""

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0
from torch import Tensor, nn

import matrix_train.attention.dense
from matrix_train.align.decoder import MapDecoder
from matrix_train.attention.roles import RoleWeights
from matrix_train.backbones import CogVideoX, backbone_class, backbone_of, trainable_parameters
from matrix_train.errors import UserError
from tests.matrix_train.backbones.models import (
    KINDS,
    PROMPT,
    attention_of,
    batch,
    gradients,
    made,
    plan_of,
    ready,
    stock,
    stock_output,
)
from tests.matrix_train.reference import FLAVOURS, LargestTensor, dense_attend, relative_error, two_samples


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("flavour", list(KINDS))
@torch.no_grad()
def test_step_0_is_the_stock_model_bit_for_bit(flavour, dtype) -> None:
    """Grown input, LoRA at its start and taps change nothing; neither do the maps themselves."""
    model = stock(flavour, dtype)
    backbone = made(flavour, dtype)
    backbone.install_taps(plan_of(flavour))
    backbone.add_lora(blocks=(0, 2), rank=4, alpha=2)
    inputs, roles = batch(backbone, flavour, dtype)
    want = stock_output(flavour, model, backbone, inputs)
    silent, none = backbone.predict(**inputs)
    assert torch.equal(silent, want)
    assert none == {}
    tapped, maps = backbone.predict(**inputs, roles=roles)
    assert torch.equal(tapped, want)
    assert set(maps) == {(block, d) for block, directions in plan_of(flavour).items() for d in directions}


@torch.no_grad()
def test_the_new_channels_matter_once_their_weights_do() -> None:
    for flavour, (_, config) in KINDS.items():
        backbone = made(flavour)
        inputs, _ = batch(backbone, flavour)
        before, _ = backbone.predict(**inputs)
        weight = backbone.input_of(backbone.model).weight
        known = weight.shape[1] * config["in_channels"] // backbone.model.config.in_channels
        assert known < weight.shape[1]
        assert not weight[:, known:].any()
        weight[:, known:] = 0.1
        assert not torch.allclose(backbone.predict(**inputs)[0], before)


@pytest.mark.parametrize("flavour", ["5b", "1.5-i2v", "wan21", "wan22"])
@torch.no_grad()
def test_the_grown_projection_is_a_plain_projection_over_all_channels(tmp_path, flavour) -> None:
    """A merged checkpoint: saved, loaded by stock diffusers, the same output; and loaded here again, nothing grows."""
    backbone = made(flavour)
    weight = backbone.input_of(backbone.model).weight
    weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    inputs, _ = batch(backbone, flavour)
    want, _ = backbone.predict(**inputs)
    backbone.model.save_pretrained(tmp_path / "transformer")
    kind = type(backbone)
    assert backbone_class(str(tmp_path)) is kind
    plain = kind.model_class.from_pretrained(tmp_path / "transformer").eval()
    assert plain.config.in_channels == backbone.model.config.in_channels
    assert type(kind.input_of(plain)) in (nn.Conv2d, nn.Conv3d, nn.Linear)
    torch.testing.assert_close(kind(plain).predict(**inputs)[0], want, rtol=1e-4, atol=1e-5)
    again = kind.load(str(tmp_path))
    again.model.eval()
    torch.testing.assert_close(again.predict(**inputs)[0], want, rtol=1e-4, atol=1e-5)
    # Trained on in bfloat16, its input layer is kept in float32 all the same.
    low = kind.load(str(tmp_path), torch.bfloat16)
    low.model.eval()
    inputs, _ = batch(low, flavour, torch.bfloat16)
    want, _ = low.predict(**inputs)
    kind.input_of(low.model).float()
    assert torch.equal(low.predict(**inputs)[0], want)


def test_the_flavours_are_told_apart() -> None:
    kinds = {flavour: (CogVideoX(stock(flavour)).version, CogVideoX(stock(flavour)).size) for flavour in FLAVOURS}
    assert kinds == {"2b": ("1.0", "2B"), "5b": ("1.0", "5B"), "5b-i2v": ("1.0", "5B"), "1.5-i2v": ("1.5", "5B")}


@pytest.mark.parametrize("flavour", ["5b-i2v", "wan21"])
def test_untapped_attentions_keep_the_stock_processor(flavour) -> None:
    backbone = made(flavour)
    for plan in ({0: ["v2v"], 1: ["v2t"]}, {1: ["v2t"]}):
        backbone.install_taps(plan)
    plain = type(backbone.stock_processor())
    tapped = {
        (i, name)
        for i, block in enumerate(backbone.blocks)
        for name in backbone.attentions.values()
        if type(block.get_submodule(name).processor) is not plain
    }
    assert tapped == {(1, backbone.attentions["v2t"])}


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
@pytest.mark.parametrize("flavour", list(KINDS))
def test_the_maps_are_those_of_the_q_and_k_that_attention_uses(flavour, mode) -> None:
    """Against the dense reference on q and k caught at the stock kernel: after qk-norm and RoPE."""
    backbone = made(flavour)
    backbone.install_taps(plan_of(flavour), mode)
    inputs, roles = batch(backbone, flavour)
    model = stock(flavour)
    caught: list[tuple[Tensor, ...]] = []
    real = torch.nn.functional.scaled_dot_product_attention

    def catch(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        caught.append((query.double(), key.double(), value.double()))
        return real(query, key, value, **options)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", catch)
        stock_output(flavour, model, backbone, inputs)
    with torch.no_grad():
        _, maps = backbone.predict(**inputs, roles=roles)
    text, video = two_samples(roles.text_length, roles.video_length)
    for (block, direction), got in maps.items():
        call, at = attention_of(flavour, block, direction)
        words = PROMPT if at is not None and direction == "v2t" else None
        _, want = dense_attend(*caught[call], text.double(), video.double(), direction, mode, at, words)
        assert float((got - want).norm() / want.norm()) < 1e-5


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
@pytest.mark.parametrize("flavour", ["5b-i2v", "wan21", "wan22"])
def test_the_whole_models_gradients_are_those_of_matrices_really_formed(flavour, mode) -> None:
    """In float64, with the maps read from dense attention."""
    backbone = ready(mode, flavour, torch.float64)
    inputs, roles = batch(backbone, flavour, torch.float64)
    got = gradients(backbone, inputs, roles)
    backbone.collector.read = matrix_train.attention.dense.dense_attend
    for found, exact in zip(got, gradients(backbone, inputs, roles), strict=True):
        assert relative_error(found, exact) < 1e-6


@pytest.mark.parametrize("flavour", ["5b-i2v", "wan21", "wan22"])
def test_losses_off_is_plain_lora_training_bit_for_bit(flavour) -> None:
    """Without roles, a backbone with taps installed has the same gradients as one without taps."""
    tapped, plain = ready("logits", flavour), made(flavour)
    plain.add_lora(blocks=(0, 1, 2), rank=4, alpha=2)
    plain.model.load_state_dict(tapped.model.state_dict())
    inputs, _ = batch(tapped, flavour)
    for got, want in zip(gradients(tapped, inputs, None), gradients(plain, inputs, None), strict=True):
        assert torch.equal(got, want)


MODULES = {
    "5b-i2v": ("transformer_blocks.{}.attn1",), "wan21": ("blocks.{}.attn1", "blocks.{}.attn2"),
    "wan22": ("blocks.{}.attn1", "blocks.{}.attn2"),
}  # fmt: skip


@pytest.mark.parametrize("flavour", list(MODULES))
def test_trainable_is_exactly_lora_input_projection_and_decoders(flavour) -> None:
    backbone = made(flavour)
    backbone.add_lora(blocks=(0, 2), rank=4, alpha=2)
    decoders = {"sga": MapDecoder(), "spa": MapDecoder()}
    names = set(trainable_parameters(backbone, decoders))
    lora = {
        f"backbone.{module.format(block)}.{target}.lora_{side}.default.weight"
        for module in MODULES[flavour] for block in (0, 2)
        for target in ("to_q", "to_k", "to_v", "to_out.0") for side in "AB"
    }  # fmt: skip
    projection = {f"backbone.{backbone.input_layer}.{part}" for part in ("weight", "bias")}
    heads = {f"decoders.{family}.{name}" for family in decoders for name, _ in decoders[family].named_parameters()}
    assert names == lora | projection | heads
    other, bias = backbone.model.proj_out.weight, backbone.input_of(backbone.model).bias
    other.requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"proj_out\.weight"):
        trainable_parameters(backbone, decoders)
    other.requires_grad_(False)
    bias.requires_grad_(False)
    with pytest.raises(RuntimeError, match=rf"{backbone.input_layer}\.bias"):
        trainable_parameters(backbone, decoders)


def test_lora_has_its_rank_and_strength() -> None:
    backbone = made()
    backbone.add_lora(blocks=(2,), rank=8, alpha=4)
    layer = backbone.model.transformer_blocks[2].attn1.to_q
    assert layer.scaling == {"default": 0.5}
    assert layer.lora_A.default.weight.shape == (8, 32)


def test_sizes_that_do_not_fit_are_named_at_the_start() -> None:
    free, fixed = CogVideoX(stock("5b")), CogVideoX(stock("5b-i2v"))
    assert free.grid(49, 480, 720).cells == 17550
    for frames, height, width, message in (
        (49, 488, 720, "data.height and data.width must be divisible by 16, got 488×720"),
        (49, 480, 712, "data.height and data.width must be divisible by 16, got 480×712"),
        (48, 480, 720, "data.frames must be 1 more than a multiple of 4, got 48"),
    ):
        with pytest.raises(UserError, match=message):
            free.grid(frames, height, width)
    for size in ((9, 64, 112), (13, 64, 96)):
        with pytest.raises(UserError, match="learned positions and takes clips of 9×64×96 only"):
            fixed.grid(*size)
    joined = CogVideoX(stock("1.5-i2v")).grid(81, 768, 1360)
    assert (joined.frames, joined.latent_frames, joined.time_factor) == (11, 22, 8)
    assert 1 + joined.time_factor * (joined.frames - 1) == 81


def test_a_block_that_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match="block 7 does not exist: this model has blocks 0 to 2"):
        made().install_taps({7: ["v2t"]})


def test_too_many_input_channels_are_refused() -> None:
    with pytest.raises(UserError, match="reads 64 input channels"):
        CogVideoX(stock("5b", in_channels=64))


def test_what_a_model_does_not_hold_is_named() -> None:
    with pytest.raises(UserError, match="no attention of wan21 reads t2v: give v2t or v2v"):
        made("wan21").install_taps({0: ["t2v"]})
    for changes in ({"out_channels": 16}, {"in_channels": 36, "out_channels": 16}):
        config = dict(stock("wan22", **changes).config)
        with pytest.raises(UserError, match="this kind cannot be trained here; wan21 and wan22 can"):
            backbone_of("WanTransformer3DModel", config, "model.path x")


def test_a_mask_is_refused() -> None:
    backbone = made()
    backbone.install_taps({0: ["v2t"]})
    with pytest.raises(ValueError, match="without a mask"):
        backbone.model.transformer_blocks[0].attn1(
            torch.randn(1, 4, 32), encoder_hidden_states=torch.randn(1, 2, 32), attention_mask=torch.ones(1, 6)
        )


LARGE: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "5b": ({"sample_width": 80, "sample_height": 80}, (5, 640, 640)),
    "wan21": ({"added_kv_proj_dim": 16}, (5, 640, 640)),
    "wan22": ({}, (5, 1280, 1280)),
}
"""Models and clips with 3 200 cells and more."""


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
@pytest.mark.parametrize("flavour", list(LARGE))
def test_no_tensor_of_an_aligned_step_comes_near_n_squared(flavour, mode) -> None:
    changes, clip = LARGE[flavour]
    backbone = made(flavour, num_attention_heads=1, num_layers=2, **changes)
    backbone.install_taps({0: ["v2t"], 1: ["v2v"]}, mode)
    backbone.add_lora(blocks=(0, 1), rank=2, alpha=2)
    backbone.enable_checkpointing()
    grid, length = backbone.grid(*clip), backbone.prompt_shape[0]
    assert grid.cells >= 3200
    latents, conditions, timesteps = backbone.blank(1, *clip)
    text, video = torch.zeros(1, 3, length), torch.zeros(1, 3, grid.cells)
    text[:, :, :4], video[:, :, :800] = 1 / 4, 1 / 800
    with LargestTensor() as largest:
        prediction, maps = backbone.predict(
            torch.randn_like(latents), conditions, timesteps, RoleWeights.build(text, video)
        )
        (prediction.mean() + sum(m.sum() for m in maps.values())).backward()
    assert 0 < largest.elements < grid.cells**2 / 8, largest.shape


def test_a_map_that_never_came_is_an_error() -> None:
    backbone = made()
    backbone.install_taps({2: ["v2v"]})
    backbone.model.transformer_blocks[2].attn1.set_processor(CogVideoXAttnProcessor2_0())
    inputs, roles = batch(backbone)
    with pytest.raises(RuntimeError, match=r"no map came back from \[\(2, 'v2v'\)\]"):
        backbone.predict(**inputs, roles=roles)
