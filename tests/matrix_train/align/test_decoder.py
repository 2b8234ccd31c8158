"""D_φ: causality, its start, what it reads, and what a stride means."""

from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from matrix_train.align.decoder import STRIDES, MapDecoder, in_nats
from matrix_train.attention.maps import Mode

FRAMES, HEIGHT, WIDTH = 5, 4, 6
MODES: tuple[Mode, ...] = get_args(Mode)


def maps(seed: int = 0, frames: int = FRAMES) -> Tensor:
    return torch.randn(2, 3, frames, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def attention(seed: int = 0) -> Tensor:
    """Maps of mode `softmax`: even attention over the cells, times e^x."""
    return maps(seed).exp() / (FRAMES * HEIGHT * WIDTH)


def trained(time_factor: int = 4, mode: Mode = "logits") -> MapDecoder:
    """A head whose branch speaks: every parameter moved away from its start."""
    torch.manual_seed(1)
    decoder = MapDecoder(time_factor=time_factor, mode=mode)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return decoder


@pytest.mark.parametrize("time_factor", [4, 8])
@pytest.mark.parametrize("stride", STRIDES)
def test_shapes(time_factor, stride) -> None:
    out = trained(time_factor)(maps(), stride)
    assert out.shape == (2, 3, 1 + time_factor * (FRAMES - 1), HEIGHT * 16 // stride, WIDTH * 16 // stride)


@pytest.mark.parametrize("pixels", [8, 16, 32])
def test_cells_of_other_sizes_start_as_plain_upsampling_too(pixels) -> None:
    """8 pixels between the points of the lattice, whatever a cell covers."""
    decoder, given = MapDecoder(mode="centred", pixels=pixels), maps()
    found = decoder(given, 8)
    size = (HEIGHT * pixels // 8, WIDTH * pixels // 8)
    assert found.shape == (2, 3, 1 + 4 * (FRAMES - 1), *size)
    want = F.interpolate(given[:, :, 1], size=size, mode="bilinear", align_corners=False) + decoder.log_odds
    for frame in range(1, 5):
        torch.testing.assert_close(found[:, :, frame], want)
    assert decoder(given, 1).shape[-2:] == (HEIGHT * pixels, WIDTH * pixels)


def test_a_softmax_map_s_reference_is_even_attention_over_its_keys() -> None:
    """Over text alone there are as many keys as tokens, not as cells."""
    for keys in (None, 512):
        even = torch.full((1, 1, FRAMES, HEIGHT, WIDTH), 1 / (keys or FRAMES * HEIGHT * WIDTH))
        decoder = MapDecoder(mode="softmax", keys=keys)
        torch.testing.assert_close(decoder.in_nats(even), torch.zeros_like(even), rtol=0, atol=2e-3)


def test_the_released_geometry_gives_49_frames_at_480_by_720() -> None:
    assert MapDecoder()(torch.randn(1, 1, 13, 30, 45), 1).shape == (1, 1, 49, 480, 720)


@pytest.mark.parametrize(("time_factor", "mode"), [(4, "logits"), (8, "logits"), (4, "centred"), (4, "softmax")])
@pytest.mark.parametrize("changed", range(FRAMES))
def test_a_change_in_a_latent_frame_reaches_no_earlier_pixel(changed, time_factor, mode) -> None:
    decoder, before, after = trained(time_factor, mode), attention(), attention()
    after[:, :, changed] = attention(7)[:, :, changed] * 5
    first = 0 if changed == 0 else time_factor * (changed - 1) + 1
    old, new = decoder(before, 4), decoder(after, 4)
    assert torch.equal(old[:, :, :first], new[:, :, :first])
    reached = (old != new).flatten(3).any(dim=-1).all(dim=0).all(dim=0)
    assert reached[first : first + time_factor].all()
    grad_at = torch.autograd.grad(decoder(before.requires_grad_(), 4)[:, :, :first].sum(), before)[0]
    assert not grad_at[:, :, max(changed, 1) :].any()


@pytest.mark.parametrize("mode", MODES)
def test_it_starts_as_plain_upsampling_of_the_map_in_nats(mode) -> None:
    x = attention()
    frames = torch.tensor([0] + [i for i in range(1, FRAMES) for _ in range(4)])
    nats = in_nats(x, mode).flatten(0, 1)
    lattice = F.interpolate(nats, scale_factor=2.0, mode="bilinear", align_corners=False)[:, frames]
    decoder = MapDecoder(mode=mode, prior=0.2)
    torch.testing.assert_close(decoder(x, 8).flatten(0, 1), lattice + torch.tensor(0.25).log())
    assert decoder.gain.item() == pytest.approx(1.0)


def test_the_gain_stays_positive_whatever_is_learned() -> None:
    decoder = MapDecoder()
    for raw in (-30.0, -3.0, 0.0, 30.0):
        decoder.raw_gain.data.fill_(raw)
        assert decoder.gain.item() > 0


def test_every_parameter_learns_once_the_branch_has_left_zero() -> None:
    decoder = trained()
    decoder(maps(), 4).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in decoder.parameters())


@pytest.mark.parametrize("stride", STRIDES)
def test_a_stride_evaluates_the_same_function_at_block_centres(stride) -> None:
    """The head is the bilinear interpolant of its 8-pixel lattice; `grid_sample` evaluates that anywhere."""
    decoder, x = trained(), maps()
    lattice = decoder(x, 8).flatten(0, 1)
    rows = (torch.arange(HEIGHT * 16 // stride) + 0.5) * stride / (HEIGHT * 16) * 2 - 1
    columns = (torch.arange(WIDTH * 16 // stride) + 0.5) * stride / (WIDTH * 16) * 2 - 1
    points = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
    want = F.grid_sample(
        lattice, points[None].expand(len(lattice), -1, -1, -1),
        mode="bilinear", padding_mode="border", align_corners=False,
    )  # fmt: skip
    torch.testing.assert_close(decoder(x, stride).flatten(0, 1), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [2, 4])
def test_a_stride_is_the_mean_of_the_four_central_pixels(stride) -> None:
    decoder, x = trained(), maps()
    pixels = decoder(x, 1).flatten(0, 1)
    low, high = stride // 2 - 1, stride // 2
    central = [pixels[..., i::stride, j::stride] for i in (low, high) for j in (low, high)]
    torch.testing.assert_close(decoder(x, stride).flatten(0, 1), torch.stack(central).mean(dim=0), rtol=1e-4, atol=1e-4)


def test_nats_are_measured_from_the_reference_of_their_mode() -> None:
    x = maps()
    # Scaled products have no zero of their own, but a unit; and the last frame's reference is the mean of all.
    torch.testing.assert_close(in_nats(2 * x + 50, "logits"), 2 * in_nats(x, "logits"), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(in_nats(x, "logits")[:, :, -1], (x - x.mean((2, 3, 4), True))[:, :, -1])
    torch.testing.assert_close(in_nats(x, "logits")[:, :, 0], x[:, :, 0] - x[:, :, 0].mean((-2, -1), True))
    assert in_nats(x, "centred") is x
    torch.testing.assert_close(in_nats(attention(), "softmax"), x, rtol=0, atol=0.05)


@pytest.mark.parametrize("mode", MODES)
def test_an_absent_roles_zero_map_is_finite_in_value_and_gradient(mode) -> None:
    zero = torch.zeros(1, 1, 3, 4, 6, requires_grad=True)
    nats = in_nats(zero, mode)
    assert torch.isfinite(nats).all()
    assert torch.isfinite(torch.autograd.grad(nats.sum(), zero)[0]).all()


def test_another_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="supervise_stride must be one of"):
        MapDecoder()(maps(), 3)


def test_each_block_has_a_level_of_its_own() -> None:
    """A map at its block's level is inside with probability `prior`, whatever the rest of the head has learned."""
    decoder, trained_elsewhere = MapDecoder(mode="centred", prior=0.05, blocks=3), trained(mode="centred")
    with torch.no_grad():
        decoder.level.copy_(torch.tensor([4.0, 0.0, -3.0]))
    for place, level in ((0, 4.0), (1, 0.0), (2, -3.0)):
        logits = decoder(torch.full((1, 1, 2, 2, 2), level), 8, place)
        torch.testing.assert_close(logits.sigmoid(), torch.full_like(logits, 0.05))
    before = trained_elsewhere(maps(), 4)
    with torch.no_grad():
        trained_elsewhere.level.add_(4.0)
    torch.testing.assert_close(trained_elsewhere(maps() + 4.0, 4), before, rtol=1e-4, atol=1e-4)
