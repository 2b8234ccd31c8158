"""What training has done so far, on held-out clips with fixed timesteps and noise (paper §4's AAS among it).

The same clips, noise and timesteps at every step, so that two validations differ by the weights alone.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from matrix_train.attention.kernels import attention_kernel
from matrix_train.attention.roles import RoleWeights
from matrix_train.backbones.configured import install_measuring_taps, install_training_taps
from matrix_train.config import Config
from matrix_train.data import Batch
from matrix_train.fit.assembly import Assembly
from matrix_train.fit.cache import LatentCache
from matrix_train.fit.inputs import Draw, Inputs, empty_prompt, prepare
from matrix_train.fit.means import ALIGNED, Means
from matrix_train.fit.samples import HeldOut
from matrix_train.fit.step import Purpose

PURPOSE = "validation"

PURPOSES: tuple[Purpose, ...] = ("decode", "attend")

GRADIENTS: tuple[Purpose, ...] = ("diffusion", "alignment")

ATTENTION_ONLY = (".aas", ".inside_over_outside", f".{ALIGNED}")
"""Numbers that only softmax maps have, or that do not depend on maps: their names need not say so."""


class Validator:
    """Holds the encoded clips on the CPU between validations."""

    def __init__(
        self,
        config: Config,
        parts: Assembly,
        accelerator: Accelerator,
        batches: Sequence[Batch],
        cache: LatentCache | None = None,
    ) -> None:
        """batches: one clip each, the same on every process."""
        self.config, self.parts, self.accelerator, self.cache = config, parts, accelerator, cache
        world, rank = accelerator.num_processes, accelerator.process_index
        # Every process takes as many forward passes, or FSDP would wait for ever; the doubles do not count.
        rounds = -(-len(batches) // world)
        mine = [(i, batches[i % len(batches)]) for i in range(rank, rounds * world, world)]
        self.clips = [(self._encode(batch), i < len(batches)) for i, batch in mine]
        self.sampled = [
            HeldOut(batch, inputs.conditions)
            for (i, batch), (inputs, _) in zip(mine, self.clips, strict=True)
            if i < min(config.validation.videos, len(batches))
        ]
        """The clips that this process samples videos of."""
        self.empty = empty_prompt(parts.encoders, cache, batches[0].input_ids.to(accelerator.device))

    @torch.no_grad()
    def measure(self, model: Any) -> dict[str, float]:
        """Means over clips and timesteps, by name: diffusion; per family aas, its split, correlation, loss, iou.

        Those of a family are over the clips that have a role of it, `aligned` of all.
        """
        found: dict[str, float] = {}
        for purpose in PURPOSES:
            means = Means()
            if purpose == "attend":
                install_measuring_taps(self.parts.backbone, self.config.align)
            for inputs, counts in self.clips:
                for timestep in self.config.validation.timesteps:
                    fixed = fixed_at(to_device(inputs, self.accelerator.device), timestep)
                    with attention_kernel(self.config.model.attention):
                        _, logs = model(fixed, purpose)
                    means.add(logs, float(counts))
            found |= {_shown(purpose, name): value for name, value in means.read(self.accelerator).items()}
        install_training_taps(self.parts.backbone, self.config.align)
        return found | self._gradients()

    def _gradients(self) -> dict[str, float]:
        """Norms of both losses' gradients on LoRA, and how many times the diffusion's the alignment's is.

        Of two clips a process that have a role, at the middle timestep. Not under FSDP, whose shards take one backward
        pass alone.
        """
        config, device = self.config, self.accelerator.device
        if not config.aligned or config.train.parallel == "fsdp":
            return {}
        timesteps = config.validation.timesteps
        held = [inputs for inputs, _ in self.clips]
        told = [inputs for inputs in held if any(bool(roles.any()) for roles in inputs.present.values())] or held
        middle = timesteps[len(timesteps) // 2]
        clips = [fixed_at(to_device(inputs, device), middle) for inputs in told[:2]]
        norms: dict[str, float] = {}
        for part in GRADIENTS:
            total = sum(self._gradient(inputs, part) for inputs in clips)
            norms[f"gradient.{part}"] = float(self.accelerator.reduce(total, "mean").norm() / len(clips))
        return norms | {"gradient.ratio": norms["gradient.alignment"] / max(norms["gradient.diffusion"], 1e-30)}

    def _gradient(self, inputs: Inputs, part: Purpose) -> Tensor:
        """Of this loss on all LoRA matrices, as one vector."""
        # Not the wrapped model, whose hooks would wait for parameters that have no gradient here.
        model = self.parts.model
        lora = [p for name, p in model.named_parameters() if ".lora_" in name]
        with torch.enable_grad(), attention_kernel(self.config.model.attention):
            loss, _ = model(inputs, part)
            found = torch.autograd.grad(loss, lora, allow_unused=True)
        return torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(lora, found, strict=True)]
        )

    def _encode(self, batch: Batch) -> Inputs:
        draw = Draw(self.config.train.seed, PURPOSE, image_noise=False, timestep=0)
        stride, device = self.config.align.supervise_stride, self.accelerator.device
        return to_device(prepare(batch, self.parts.encoders, self.parts.grid, stride, draw, device, self.cache), "cpu")


def _shown(purpose: Purpose, name: str) -> str:
    """Of what both passes measure, softmax maps' is marked."""
    return name if purpose == "decode" or name.endswith(ATTENTION_ONLY) else f"softmax.{name}"


def fixed_at(inputs: Inputs, timestep: int) -> Inputs:
    """The same clips at another timestep."""
    return replace(inputs, timesteps=torch.full_like(inputs.timesteps, timestep))


def to_device(inputs: Inputs, device: torch.device | str) -> Inputs:
    """Every tensor of it."""

    def move(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: tensor.to(device) for name, tensor in value.items()}
        return value.to(device) if isinstance(value, Tensor | RoleWeights) else value

    return replace(inputs, **{field.name: move(getattr(inputs, field.name)) for field in fields(inputs)})
