"""D_φ: from a role map on the latent grid to mask logits on the pixel grid (paper §5). Used in training only.

    logits = MapDecoder(mode="centred")(maps, stride=4)      # [B, R, F, h, w] → [B, R, 4 F − 3, 16 h / 4, 16 w / 4]
                                                             # at 16 pixels a cell

The head starts as plain upsampling of the normalised map, with a gain that stays positive and a convolution branch
that starts at zero. A free start often settles on a *negative* map and pushes attention off the instance: the loss sees
attention only through the head; nothing else says that more attention must mean inside (`docs/training/decoder.md`).

Normalised means in nats: how far the logarithm of attention lies above a reference. The size of the contrast is kept,
for a loss that is blind to it asks only where attention goes and never how much (decision 9).

Causal in time, like the VAE's decoder: latent frame 0 makes frame 0, latent frame i ≥ 1 makes frames
`factor (i − 1) + 1 … factor i`, and no output frame depends on a later latent frame. That includes the normalisation.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from matrix_train.attention.maps import Mode

STRIDES = (1, 2, 4, 8)
"""Where the logits may be evaluated, in pixels."""

LATTICE = 8
"""Pixels between the points on which the head computes; in between it is bilinear."""


class MapDecoder(nn.Module):
    """One head. Grounding and propagation have one each, shared by roles and, but for the level, by blocks.

    time_factor: frames made by a latent frame after the first (4, or 8 where a token spans two latent frames). mode:
    of the maps. prior: a map at its reference is inside with this probability at the start, and a nat of attention more
    adds 1 to the log-odds. With one in the number of tokens, a small attention weight is its own probability. blocks:
    how many are tapped; each has a level of its own, for maps of one block lie nats away from another's. pixels: across
    a cell, a multiple of LATTICE. keys: over which the attention of the maps is spread; None: as many as a map has
    cells, of which the text in the same attention is a small part.
    """

    def __init__(
        self,
        channels: int = 8,
        time_factor: int = 4,
        mode: Mode = "logits",
        prior: float = 0.05,
        blocks: int = 1,
        pixels: int = 16,
        keys: int | None = None,
    ) -> None:
        super().__init__()
        self.time_factor, self.mode, self.space, self.keys = time_factor, mode, pixels // LATTICE, keys
        self.log_odds = math.log(prior / (1.0 - prior))
        self.raw_gain = nn.Parameter(torch.tensor(math.log(math.expm1(1.0))))
        self.level = nn.Parameter(torch.zeros(blocks))
        self.conv_in = nn.Conv3d(1, channels, 3, padding=(0, 1, 1))
        self.conv_mid = nn.Conv3d(channels, channels, 3, padding=(0, 1, 1))
        self.conv_out = nn.Conv3d(channels, time_factor * self.space**2, 1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    @property
    def gain(self) -> Tensor:
        """Slope of the upsampling path: softplus, so positive whatever the optimiser does. Starts at 1."""
        return F.softplus(self.raw_gain)

    def forward(self, maps: Tensor, stride: int, place: int = 0) -> Tensor:
        """Mask logits at the centres of the stride × stride pixel blocks.

        maps: [B, R, F, h, w] of the block at this place among the tapped ones. Returns
        [B, R, 1 + time_factor (F − 1), pixels h / stride, pixels w / stride]. The head is one function of
        continuous image coordinates, the bilinear interpolant of its values on the 8-pixel lattice; the stride only
        says where it is evaluated. ValueError for a stride outside 1, 2, 4, 8.
        """
        return at_stride(self.lattice(maps, place), stride)

    def lattice(self, maps: Tensor, place: int = 0) -> Tensor:
        """The head's values on its lattice: [B, R, F, h, w] → [B, R, 1 + time_factor (F − 1), space h, space w]."""
        batch, roles, frames, height, width = maps.shape
        x = self.in_nats(maps).flatten(0, 1)[:, None].to(self.raw_gain.dtype) - self.level[place]
        plain = _in_space(self.gain * x[:, 0] + self.log_odds, self.space)
        plain = plain.repeat_interleave(self.time_factor, dim=1)
        branch: Tensor = F.silu(self.conv_in(_held(x)))
        branch = self.conv_out(F.silu(self.conv_mid(_held(branch))))
        branch = branch.view(-1, self.time_factor, self.space, self.space, frames, height, width)
        branch = branch.permute(0, 4, 1, 5, 2, 6, 3)
        # Latent frame 0 stands for one frame, not for time_factor of them.
        values: Tensor = (plain + branch.reshape(plain.shape))[:, self.time_factor - 1 :]
        return values.reshape(batch, roles, *values.shape[1:])

    def in_nats(self, maps: Tensor) -> Tensor:
        """How far the logarithm of attention lies above a reference, as the head reads it."""
        return in_nats(maps, self.mode, self.keys)


def at_stride(lattice: Tensor, stride: int) -> Tensor:
    """The interpolant of lattice values [B, R, T, h, w] at a stride: [B, R, T, LATTICE h / stride, LATTICE w / stride].

    Frame by frame, so frames can be taken a few at a time. ValueError for a stride outside 1, 2, 4, 8.
    """
    if stride not in STRIDES:
        raise ValueError(f"supervise_stride must be one of {STRIDES}, not {stride}")
    logits = _in_space(lattice.flatten(0, 1), LATTICE // stride)
    return logits.view(*lattice.shape[:2], *logits.shape[1:])


def in_nats(maps: Tensor, mode: Mode, keys: int | None = None) -> Tensor:
    """How far the logarithm of attention lies above a reference. maps: [B, R, F, h, w], and the same shape back.

    keys: of the attention; None: F · h · w.

    | mode    | reference                                                                               |
    |---------|-----------------------------------------------------------------------------------------|
    | logits  | the mean over all cells of this and the earlier latent frames: the products have no zero |
    | centred | the map's own, its row's mean over all keys                                             |
    | softmax | even attention, one part in the number of keys                                          |
    """
    if mode == "logits":
        return maps - _causal_mean(maps)
    if mode == "centred":
        return maps
    # A thousandth of even attention is as good as none; it keeps an absent role's zero map finite.
    return (maps * (keys or maps[0, 0].numel()) + 1e-3).log()


def _causal_mean(maps: Tensor) -> Tensor:
    """Over all cells of this and the earlier latent frames: over the whole clip, the future would reach the past."""
    frames = maps.shape[-3]
    # Not cumsum, which has no deterministic form on CUDA.
    earlier = torch.ones(frames, frames, device=maps.device, dtype=maps.dtype).tril()
    earlier = earlier / earlier.sum(dim=-1, keepdim=True)
    return (maps.mean(dim=(-2, -1))[..., None, :] * earlier).sum(dim=-1)[..., None, None]


def _held(x: Tensor) -> Tensor:
    """Two copies of the first frame in front: makes a kernel of three frames causal. x: [n, C, F, h, w]."""
    return torch.cat([x[:, :, :1], x[:, :, :1], x], dim=2)


def _in_space(x: Tensor, factor: int) -> Tensor:
    """Bilinear on half-pixel centres: [n, T, h, w] → [n, T, factor h, factor w]."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)
