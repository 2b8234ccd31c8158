"""D_φ: causality, its start, and what a stride means."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from matrix_train.decoder import STRIDES, MapDecoder, causal_normalise

FRAMES, HEIGHT, WIDTH = 5, 4, 6


def maps(seed: int = 0, frames: int = FRAMES) -> Tensor:
    return torch.randn(2, 3, frames, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def trained(time_factor: int = 4) -> MapDecoder:
    """A head whose branch speaks: every parameter moved away from its start."""
    torch.manual_seed(1)
    decoder = MapDecoder(time_factor=time_factor)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return decoder


@pytest.mark.parametrize("time_factor", [4, 8])
@pytest.mark.parametrize("stride", STRIDES)
def test_shapes(time_factor, stride) -> None:
    out = trained(time_factor)(maps(), stride)
    assert out.shape == (2, 3, 1 + time_factor * (FRAMES - 1), HEIGHT * 16 // stride, WIDTH * 16 // stride)


def test_the_released_geometry_gives_49_frames_at_480_by_720() -> None:
    assert MapDecoder()(torch.randn(1, 1, 13, 30, 45), 1).shape == (1, 1, 49, 480, 720)


@pytest.mark.parametrize("time_factor", [4, 8])
@pytest.mark.parametrize("changed", range(FRAMES))
def test_a_change_in_a_latent_frame_reaches_no_earlier_pixel(changed, time_factor) -> None:
    decoder, before, after = trained(time_factor), maps(), maps()
    after[:, :, changed] = maps(7)[:, :, changed] * 5
    first = 0 if changed == 0 else time_factor * (changed - 1) + 1
    old, new = decoder(before, 4), decoder(after, 4)
    assert torch.equal(old[:, :, :first], new[:, :, :first])
    reached = (old != new).flatten(3).any(dim=-1).all(dim=0).all(dim=0)
    assert reached[first : first + time_factor].all()
    grad_at = torch.autograd.grad(decoder(before.requires_grad_(), 4)[:, :, :first].sum(), before)[0]
    assert not grad_at[:, :, max(changed, 1) :].any()


def test_it_starts_as_plain_upsampling_of_the_normalised_map() -> None:
    x = maps()
    normal = causal_normalise(x)
    frames = torch.tensor([0] + [i for i in range(1, FRAMES) for _ in range(4)])
    lattice = F.interpolate(normal.flatten(0, 1), scale_factor=2.0, mode="bilinear", align_corners=False)[:, frames]
    decoder = MapDecoder()
    torch.testing.assert_close(decoder(x, 8).flatten(0, 1), lattice)
    assert decoder.gain.item() == pytest.approx(1.0)
    assert decoder.bias.item() == 0.0


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


def test_normalising_is_blind_to_scale_and_calm_on_a_constant_map() -> None:
    x = maps()
    torch.testing.assert_close(causal_normalise(x * 1e-6), causal_normalise(x), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(causal_normalise(x + 50), causal_normalise(x), rtol=1e-3, atol=1e-3)
    zero = torch.zeros(1, 1, 3, 4, 6, requires_grad=True)
    assert not causal_normalise(zero).any()
    assert causal_normalise(torch.full((1, 1, 3, 4, 6), 0.3)).abs().max() < 0.01
    assert torch.isfinite(torch.autograd.grad(causal_normalise(zero).sum(), zero)[0]).all()
    last = causal_normalise(x)[:, :, -1:]
    assert torch.allclose(last, (x - x.mean((2, 3, 4), True))[:, :, -1:] / x.std((2, 3, 4), False, True), atol=1e-5)


def test_another_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="supervise_stride must be one of"):
        MapDecoder()(maps(), 3)
