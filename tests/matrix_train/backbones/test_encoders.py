"""The VAE's tiles."""

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
