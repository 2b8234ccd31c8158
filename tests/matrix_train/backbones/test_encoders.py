"""The layout that the VAE's weights have on a GPU."""

from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX

from matrix_train.backbones import CogVideoX
from matrix_train.backbones.encoders import channels_last


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
