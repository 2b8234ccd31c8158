"""What is read of attention while a model computes: scalars of every block and denoising step (paper §4).

A map is the mean over heads and over a role's tokens or query cells of softmax attention. It exists inside its block
for a moment, as one number a video cell, and leaves two sums behind:

| value | is |
|---|---|
| `aas` | Σ A_e ⊙ m_e, over the cells of the role's mask |
| `mass` | Σ A_e, over all cells |

Nothing of size N² is ever made, and what is kept grows by two numbers a block, kind and role with every step.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from matrix_train.align.metrics import aas
from matrix_train.attention.maps import Direction, Layout, Taps, attend
from matrix_train.attention.roles import RoleWeights, Rows
from matrix_train.backbones import Backbone
from matrix_train.backbones.collector import Tap

KINDS: tuple[Direction, ...] = ("v2t", "v2v")
"""Order on the axis of kinds: grounding, propagation."""

VALUES = ("aas", "mass")


@dataclass(frozen=True)
class Aim:
    """What to read for P prompts of R roles each: weights of tokens and query cells, and masks."""

    roles: RoleWeights
    cells: Tensor
    """Masks on the lattice of tokens, bool [P, R, F, h, w]."""

    def to(self, device: torch.device) -> "Aim":
        return Aim(self.roles.to(device), self.cells.to(device))

    def repeated(self, times: int) -> "Aim":
        """For so many videos a prompt, one after the other, as diffusers has them."""
        text, video = (
            Rows(rows.index.repeat_interleave(times, 0), rows.weight.repeat_interleave(times, 0))
            for rows in (self.roles.text, self.roles.video)
        )
        roles = RoleWeights(text, video, self.roles.text_length, self.roles.video_length)
        return Aim(roles, self.cells.repeat_interleave(times, 0))


@dataclass(frozen=True)
class Kept:
    """Blocks and steps whose maps are kept; none by default."""

    blocks: frozenset[int] = frozenset()
    steps: frozenset[int] = frozenset()

    @classmethod
    def of(cls, blocks: Collection[int], steps: Collection[int]) -> "Kept":
        return cls(frozenset(blocks), frozenset(steps))


NOTHING = Kept()


class Reading:
    """Attends for the tapped blocks of a model, and sums up what it sees.

    Between `begin` and `end` of a forward pass the last rows of its batch are read, as many as the aim has; the first
    ones, guidance's other side, are attended to as ever. Outside of it nothing is read.
    """

    def __init__(self, kept: Kept = NOTHING) -> None:
        self.kept = kept
        self.maps: dict[tuple[int, int, Direction], Tensor] = {}
        """(block, step, kind) → [P, R, F, h, w] float32 on the CPU, of those that are kept."""
        self._aim: Aim | None = None
        self._found: dict[tuple[int, Direction], Tensor] = {}
        self._steps: list[Tensor] = []
        self._timesteps: list[Tensor] = []

    def begin(self, aim: Aim, timestep: Tensor) -> None:
        """timestep: of this forward pass, any shape; where tokens have their own, the last one counts."""
        self._aim = aim
        self._timesteps.append(timestep.flatten()[-1])

    def end(self) -> None:
        """The step's numbers as one tensor [blocks, kinds, P, R, values], still where the model is."""
        blocks = range(1 + max(block for block, _ in self._found))
        found = [torch.stack([self._found[block, kind] for kind in KINDS]) for block in blocks]
        self._steps.append(torch.stack(found))
        self._aim, self._found = None, {}

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tap: Tap, layout: Layout) -> Tensor:
        """See `Tap.attend`."""
        aim = self._aim
        if aim is None:
            return F.scaled_dot_product_attention(q, k, v)
        first = len(q) - len(aim.cells)
        taps = Taps(aim.roles, tap.directions, tap.mode, tap.kernel, tap.scale, layout)
        out, maps = attend(q[first:], k[first:], v[first:], taps)
        for kind, values in maps.items():
            folded = values.detach().view_as(aim.cells)
            total = folded.sum(dim=(-3, -2, -1))
            self._found[tap.block, kind] = torch.stack([aas(folded, aim.cells), total], dim=-1)
            if tap.block in self.kept.blocks and len(self._steps) in self.kept.steps:
                self.maps[tap.block, len(self._steps), kind] = folded.float().cpu()
        if first:
            return torch.cat([F.scaled_dot_product_attention(q[:first], k[:first], v[:first]), out])
        return out

    @property
    def open(self) -> bool:
        """Whether a forward pass is being read."""
        return self._aim is not None

    @property
    def values(self) -> Tensor:
        """[P, steps, blocks, kinds, R, values], float32 (float64 of such a model) on the CPU."""
        if not self._steps:
            raise RuntimeError("nothing was read: the pipeline has not run inside the tap")
        return torch.stack(self._steps).permute(3, 0, 1, 2, 4, 5).cpu()

    @property
    def timesteps(self) -> Tensor:
        """Of the steps, float32 [steps]."""
        return torch.stack([timestep.float() for timestep in self._timesteps]).cpu()


class Processors:
    """Our processors at every block of these models; `restore` puts back what was there."""

    def __init__(self, kind: type[Backbone], models: Sequence[Any], reading: Reading) -> None:
        self._before: list[tuple[Any, Any]] = []
        for model in models:
            for number, block in enumerate(getattr(model, kind.blocks_in)):
                for name in sorted({kind.attentions[direction] for direction in KINDS}):
                    own = tuple(direction for direction in KINDS if kind.attentions[direction] == name)
                    attention = block.get_submodule(name)
                    self._before.append((attention, attention.processor))
                    tap = Tap(reading, number, own, "softmax", "auto", "heads")
                    attention.set_processor(kind.tap_processor(tap))

    def restore(self) -> None:
        for attention, processor in self._before:
            attention.set_processor(processor)
