"""What comes out of the VAE: tiles, and as many frames as went in."""

from typing import Any

import pytest
import torch

from tests.matrix_train.backbones.models import KINDS
from tests.matrix_train.components import stock_pipeline

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


@pytest.mark.parametrize("frames", [1, 5, 9, 13, 21])
@pytest.mark.parametrize("flavour", ["5b-i2v", "1.5-i2v", "wan21", "wan22"])
def test_as_many_frames_come_out_as_went_in(flavour: str, frames: int) -> None:
    """Of 5 and 13 frames CogVideoX has an even number of latent ones, of which diffusers makes 8 and 16."""
    unused: Any = None
    encoders = KINDS[flavour][0].encoders(stock_pipeline(flavour).vae, {}, unused, unused)
    clip = torch.randint(0, 256, (1, frames, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert encoders.decode(encoders.video(clip).mean).shape == (1, 3, frames, 32, 32)


def test_frames_of_an_even_number_of_latent_ones_are_those_of_a_longer_clip() -> None:
    """But for what group norm takes of the frames after them."""
    unused: Any = None
    encoders = KINDS["5b-i2v"][0].encoders(stock_pipeline("5b-i2v").vae, {}, unused, unused)
    latents = torch.randn(1, 5, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    longer, shorter = encoders.decode(latents), encoders.decode(latents[:, :4])
    assert shorter.shape[2] == 13
    torch.testing.assert_close(shorter[:, :, :9], longer[:, :, :9])  # the chunk of three is the same
    assert (shorter[:, :, 9:] - longer[:, :, 9:13]).abs().mean() < 0.5 * longer.std()
