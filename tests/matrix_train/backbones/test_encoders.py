"""The layout that the VAE's weights have on a GPU, and its tiles."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX

from matrix_train.backbones import CogVideoX
from matrix_train.backbones.encoders import channels_last
from tests.matrix_train.backbones.models import KINDS
from tests.matrix_train.components import stock_pipeline


def test_channels_innermost_encode_and_decode_the_same() -> None:
    """Other kernels, the same sums in another order."""
    unused: Any = None
    torch.manual_seed(0)
    vae: Any = AutoencoderKLCogVideoX(block_out_channels=(8, 8, 8, 16), layers_per_block=1, norm_num_groups=4)
    encoders = CogVideoX.encoders(vae, {}, unused, unused)
    clip, latents = torch.randint(0, 256, (1, 5, 3, 32, 48), dtype=torch.uint8), torch.randn(1, 2, 16, 4, 6)
    before = encoders.video(clip).mean, encoders.decode(latents)
    channels_last(vae)
    kinds = {5: torch.channels_last_3d, 4: torch.channels_last}
    weights = [weight for weight in vae.parameters() if weight.dim() in kinds]
    assert {weight.dim() for weight in weights} == {4, 5}
    assert all(weight.is_contiguous(memory_format=kinds[weight.dim()]) for weight in weights)
    for got, want in zip((encoders.video(clip).mean, encoders.decode(latents)), before, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


TILE = {"5b-i2v": (48, 80), "wan21": (64, 64), "wan22": (64, 64)}
"""Height and width in pixels."""


@pytest.mark.parametrize("flavour", list(TILE))
def test_tiles_join_to_what_is_decoded_whole(flavour: str) -> None:
    """Small ones, which overlap by the same shares as the released ones."""
    unused: Any = None
    vae = stock_pipeline(flavour).vae
    encoders = KINDS[flavour][0].encoders(vae, {}, unused, unused)
    vae.tile_sample_min_height, vae.tile_sample_min_width = TILE[flavour]
    vae.tile_sample_stride_height = vae.tile_sample_stride_width = 48  # of Wan; CogVideoX has shares
    pixels, channels = (16, 48) if flavour == "wan22" else (8, 16)
    latents = torch.randn(1, 3, channels, 96 // pixels, 128 // pixels, generator=torch.Generator().manual_seed(0))
    whole, tiled = encoders.decode(latents, tiled=False), encoders.decode(latents)
    assert tiled.shape == whole.shape == (1, 3, 9, 96, 128)
    assert not torch.equal(tiled, whole)
    # Random weights look far; tiles in wrong places would be off by more than the spread.
    assert (tiled - whole).abs().mean() < 0.5 * whole.std()
