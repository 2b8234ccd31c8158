"""The CogVideoX backbone against stock diffusers, on tiny random models of every released flavour."""

from typing import Any

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from matrix_train.align.decoder import MapDecoder
from matrix_train.attention.roles import RoleWeights
from matrix_train.backbones import CogVideoX, trainable_parameters
from matrix_train.errors import UserError
from tests.matrix_train.reference import FLAVOURS, TINY, LargestTensor, dense_attend, two_samples

PLAN = {0: ["v2t"], 1: ["v2t", "t2v"], 2: ["v2v"]}


def stock(flavour: str = "5b-i2v", dtype: torch.dtype = torch.float32, **changes: Any) -> CogVideoXTransformer3DModel:
    torch.manual_seed(0)
    return CogVideoXTransformer3DModel(**{**TINY, **FLAVOURS[flavour], **changes}).to(dtype).eval()


def batch(backbone: CogVideoX, dtype: torch.dtype = torch.float32) -> tuple[dict[str, Tensor], RoleWeights]:
    config = backbone.model.config
    grid = backbone.grid(config.sample_frames, config.sample_height * 8, config.sample_width * 8)
    generator = torch.Generator().manual_seed(1)
    shape = (2, grid.latent_frames, 16, config.sample_height, config.sample_width)

    def noise(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(dtype)

    latents, conditions = noise(*shape), torch.cat([noise(*shape), noise(*shape)], dim=2)
    prompt = noise(2, config.max_text_seq_length, config.text_embed_dim)
    inputs = {"latents": latents, "conditions": conditions, "prompt": prompt, "timesteps": torch.tensor([10, 700])}
    return inputs, RoleWeights.build(*two_samples(config.max_text_seq_length, grid.cells))


def stock_output(model: CogVideoXTransformer3DModel, backbone: CogVideoX, inputs: dict[str, Tensor]) -> Tensor:
    """What diffusers' own forward gives on the channels that the model knows."""
    known = model.config.in_channels - 16
    rotary = None
    if model.config.use_rotary_positional_embeddings:
        _, frames, _, height, width = inputs["latents"].shape
        rotary = backbone._rotary_tables(frames, height // 2, width // 2, torch.device("cpu"))
    return model(
        hidden_states=torch.cat([inputs["latents"], inputs["conditions"][:, :, :known]], dim=2),
        encoder_hidden_states=inputs["prompt"],
        timestep=inputs["timesteps"],
        ofs=None if model.config.ofs_embed_dim is None else torch.full((1,), 2.0, dtype=inputs["latents"].dtype),
        image_rotary_emb=rotary,
        return_dict=False,
    )[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("flavour", list(FLAVOURS))
@torch.no_grad()
def test_step_0_is_the_stock_model_bit_for_bit(flavour, dtype) -> None:
    """Grown input, LoRA at its start and taps change nothing; neither do the maps themselves."""
    model = stock(flavour, dtype)
    backbone = CogVideoX(stock(flavour, dtype))
    backbone.install_taps(PLAN)
    backbone.add_lora(blocks=(0, 2), rank=4, alpha=2)
    inputs, roles = batch(backbone, dtype)
    want = stock_output(model, backbone, inputs)
    silent, none = backbone.predict(**inputs)
    assert torch.equal(silent, want)
    assert none == {}
    tapped, maps = backbone.predict(**inputs, roles=roles)
    assert torch.equal(tapped, want)
    assert set(maps) == {(0, "v2t"), (1, "v2t"), (1, "t2v"), (2, "v2v")}


@torch.no_grad()
def test_the_new_channels_matter_once_their_weights_do() -> None:
    for flavour in FLAVOURS:
        backbone = CogVideoX(stock(flavour))
        inputs, _ = batch(backbone)
        before, _ = backbone.predict(**inputs)
        weight = backbone.model.patch_embed.proj.weight
        known = weight.shape[1] * FLAVOURS[flavour].get("in_channels", 32) // 48
        assert not weight[:, known:].any()
        weight[:, known:] = 0.1
        assert not torch.allclose(backbone.predict(**inputs)[0], before)


@torch.no_grad()
def test_the_grown_projection_is_a_plain_projection_over_48_channels(tmp_path) -> None:
    """A merged checkpoint: saved, loaded by stock diffusers, the same output; and loaded here again, nothing grows."""
    for flavour in ("5b", "1.5-i2v"):
        backbone = CogVideoX(stock(flavour))
        weight = backbone.model.patch_embed.proj.weight
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
        inputs, _ = batch(backbone)
        want, _ = backbone.predict(**inputs)
        backbone.model.save_pretrained(tmp_path / flavour / "transformer")
        plain = CogVideoXTransformer3DModel.from_pretrained(tmp_path / flavour / "transformer").eval()
        assert plain.config.in_channels == 48
        torch.testing.assert_close(stock_output(plain, backbone, inputs), want, rtol=1e-4, atol=1e-5)
        again = CogVideoX.load(str(tmp_path / flavour))
        again.model.eval()
        torch.testing.assert_close(again.predict(**inputs)[0], want, rtol=1e-4, atol=1e-5)


def test_the_flavours_are_told_apart() -> None:
    kinds = {flavour: (CogVideoX(stock(flavour)).version, CogVideoX(stock(flavour)).size) for flavour in FLAVOURS}
    assert kinds == {"2b": ("1.0", "2B"), "5b": ("1.0", "5B"), "5b-i2v": ("1.0", "5B"), "1.5-i2v": ("1.5", "5B")}


def test_untapped_blocks_keep_the_stock_processor() -> None:
    backbone = CogVideoX(stock())
    backbone.install_taps({1: ["v2t"]})
    kinds = [type(block.attn1.processor) is CogVideoXAttnProcessor2_0 for block in backbone.model.transformer_blocks]
    assert kinds == [True, False, True]


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
@pytest.mark.parametrize("flavour", list(FLAVOURS))
def test_the_maps_are_those_of_the_q_and_k_that_attention_uses(flavour, mode) -> None:
    """Against the dense reference on q and k caught at the stock kernel: after qk-norm and RoPE, text first."""
    backbone = CogVideoX(stock(flavour))
    backbone.install_taps(PLAN, mode)
    inputs, roles = batch(backbone)
    model = stock(flavour)
    caught: list[tuple[Tensor, ...]] = []
    real = torch.nn.functional.scaled_dot_product_attention

    def catch(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        caught.append((q.double(), k.double(), v.double()))
        return real(q, k, v, **options)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", catch)
        stock_output(model, backbone, inputs)
    with torch.no_grad():
        _, maps = backbone.predict(**inputs, roles=roles)
    text, video = two_samples(roles.text_length, roles.video_length)
    for (block, direction), got in maps.items():
        _, want = dense_attend(*caught[block], text.double(), video.double(), direction, mode)
        assert float((got - want).norm() / want.norm()) < 1e-5


def gradients(backbone: CogVideoX, inputs: dict[str, Tensor], roles: RoleWeights | None) -> list[Tensor]:
    prediction, maps = backbone.predict(**inputs, roles=roles)
    value = prediction.square().mean()
    for i, key in enumerate(sorted(maps)):
        value = value + (i + 1) * maps[key].square().sum()
    return [value.detach(), *torch.autograd.grad(value, list(backbone.trainable().values()), allow_unused=True)]


def ready(mode: str, flavour: str = "5b-i2v") -> CogVideoX:
    backbone = CogVideoX(stock(flavour))
    backbone.install_taps(PLAN, mode)
    backbone.add_lora(blocks=(0, 1, 2), rank=4, alpha=2)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in backbone.trainable().values():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return backbone


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
def test_checkpointed_equals_not_checkpointed(mode) -> None:
    backbone = ready(mode)
    inputs, roles = batch(backbone)
    plain = gradients(backbone, inputs, roles)
    backbone.enable_checkpointing()
    for got, want in zip(gradients(backbone, inputs, roles), plain, strict=True):
        assert torch.equal(got, want)
    assert all(grad.any() for grad in plain)


def test_each_backward_pass_recomputes_with_its_own_roles() -> None:
    """Two forward passes, then both backward passes: the recompute of the first must not see the second's roles."""
    backbone = ready("softmax")
    inputs, first = batch(backbone)
    text, video = two_samples(first.text_length, first.video_length)
    second = RoleWeights.build(text.flip(-1), video.flip(-1))
    apart = [gradients(backbone, inputs, roles)[1:] for roles in (first, second, None)]
    backbone.enable_checkpointing()
    total = torch.zeros(())
    for roles in (first, second, None):
        prediction, maps = backbone.predict(**inputs, roles=roles)
        total = total + prediction.square().mean()
        for i, key in enumerate(sorted(maps)):
            total = total + (i + 1) * maps[key].square().sum()
    together = torch.autograd.grad(total, list(backbone.trainable().values()))
    for got, *parts in zip(together, *apart, strict=True):
        torch.testing.assert_close(got, sum(parts), rtol=1e-4, atol=1e-6)


def test_nothing_is_kept_after_a_step() -> None:
    backbone = ready("logits")
    backbone.enable_checkpointing()
    inputs, roles = batch(backbone)
    gradients(backbone, inputs, roles)
    assert backbone.collector._step is None


def test_reentrant_checkpointing_is_refused() -> None:
    backbone = ready("logits")
    inputs, roles = batch(backbone)
    backbone.model.enable_gradient_checkpointing(lambda block, *args: checkpoint(block, *args, use_reentrant=True))
    with pytest.raises(RuntimeError, match="call the backbone's enable_checkpointing"):
        backbone.predict(**inputs, roles=roles)
    # Also where it hides from the model: the processor finds its gradient switched off.
    backbone.model.disable_gradient_checkpointing()
    block = backbone.model.transformer_blocks[0]
    plain = block.forward
    block.forward = lambda **kw: checkpoint(
        lambda h, e: plain(**{**kw, "hidden_states": h, "encoder_hidden_states": e}),
        kw["hidden_states"], kw["encoder_hidden_states"], use_reentrant=True,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="reentrant checkpointing drops the maps' gradient"):
        backbone.predict(**inputs, roles=roles)


def test_losses_off_is_plain_lora_training_bit_for_bit() -> None:
    """Without roles, a backbone with taps installed has the same gradients as one without taps."""
    tapped, plain = ready("logits"), CogVideoX(stock())
    plain.add_lora(blocks=(0, 1, 2), rank=4, alpha=2)
    plain.model.load_state_dict(tapped.model.state_dict())
    inputs, _ = batch(tapped)
    for got, want in zip(gradients(tapped, inputs, None), gradients(plain, inputs, None), strict=True):
        assert torch.equal(got, want)


def test_trainable_is_exactly_lora_input_projection_and_decoders() -> None:
    backbone = CogVideoX(stock())
    backbone.add_lora(blocks=(0, 2), rank=4, alpha=2)
    decoders = {"sga": MapDecoder(), "spa": MapDecoder()}
    names = set(trainable_parameters(backbone, decoders))
    lora = {
        f"backbone.transformer_blocks.{block}.attn1.{target}.lora_{side}.default.weight"
        for block in (0, 2) for target in ("to_q", "to_k", "to_v", "to_out.0") for side in "AB"
    }  # fmt: skip
    projection = {"backbone.patch_embed.proj.weight", "backbone.patch_embed.proj.bias"}
    heads = {f"decoders.{family}.{name}" for family in decoders for name, _ in decoders[family].named_parameters()}
    assert names == lora | projection | heads
    backbone.model.norm_final.weight.requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"norm_final\.weight"):
        trainable_parameters(backbone, decoders)
    backbone.model.norm_final.weight.requires_grad_(False)
    backbone.model.patch_embed.proj.bias.requires_grad_(False)
    with pytest.raises(RuntimeError, match=r"patch_embed\.proj\.bias"):
        trainable_parameters(backbone, decoders)


def test_lora_has_its_rank_and_strength() -> None:
    backbone = CogVideoX(stock())
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
        CogVideoX(stock()).install_taps()


def test_too_many_input_channels_are_refused() -> None:
    with pytest.raises(UserError, match="reads 64 input channels"):
        CogVideoX(stock("5b", in_channels=64))


def test_a_mask_is_refused() -> None:
    backbone = CogVideoX(stock())
    backbone.install_taps({0: ["v2t"]})
    with pytest.raises(ValueError, match="without a mask"):
        backbone.model.transformer_blocks[0].attn1(
            torch.randn(1, 4, 32), encoder_hidden_states=torch.randn(1, 2, 32), attention_mask=torch.ones(1, 6)
        )


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
def test_no_tensor_of_an_aligned_step_comes_near_n_squared(mode) -> None:
    backbone = CogVideoX(stock("5b", num_attention_heads=1, num_layers=2, sample_width=80, sample_height=80))
    backbone.install_taps({0: ["v2t"], 1: ["v2v", "t2v"]}, mode)
    backbone.add_lora(blocks=(0, 1), rank=2, alpha=2)
    backbone.enable_checkpointing()
    grid = backbone.grid(5, 640, 640)
    n = 12 + grid.cells
    assert n > 3000
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 2, 48, 80, 80, generator=generator)
    text, video = torch.zeros(1, 3, 12), torch.zeros(1, 3, grid.cells)
    text[:, :, :4], video[:, :, :800] = 1 / 4, 1 / 800
    with LargestTensor() as largest:
        prediction, maps = backbone.predict(
            latents[:, :, :16], latents[:, :, 16:], torch.randn(1, 12, 24), torch.tensor([5]),
            RoleWeights.build(text, video),
        )  # fmt: skip
        (prediction.mean() + sum(m.sum() for m in maps.values())).backward()
    assert 0 < largest.elements < n * n / 8, largest.shape


def test_a_map_that_never_came_is_an_error() -> None:
    backbone = CogVideoX(stock())
    backbone.install_taps({2: ["v2v"]})
    backbone.model.transformer_blocks[2].attn1.set_processor(CogVideoXAttnProcessor2_0())
    inputs, roles = batch(backbone)
    with pytest.raises(RuntimeError, match=r"no map came back from \[\(2, 'v2v'\)\]"):
        backbone.predict(**inputs, roles=roles)
