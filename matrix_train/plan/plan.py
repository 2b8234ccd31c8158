"""What a run will cost, before it starts: parameters, FLOPs, memory and time of a step (`fit --dry-run`).

Counted on the meta device, so the full 5B plan needs neither weights nor GPU.
"""

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

import torch

from matrix_train.align.losses import make_decoders
from matrix_train.backbones import Backbone, trainable_parameters
from matrix_train.backbones.base import kind_of
from matrix_train.backbones.configured import meta_copy, plan_backbone
from matrix_train.config import DTYPES, Config
from matrix_train.data import open_stream
from matrix_train.plan.flops import costly_roles, count_flops, matmul_rate, training_step
from matrix_train.plan.memory import peak_bytes

ROLE_TOKENS = 8
"""Text tokens of a role in the plan: more than most captions give."""


def planned_step_flops(config: Config, backbone: Backbone) -> int:
    """FLOPs of one sample's forward and backward pass, alignment and recomputation included; the costliest roles."""
    return count_flops(_planned_step(config, meta_copy(config, backbone)))


def _planned_step(config: Config, backbone: Backbone) -> Any:
    size = (config.data.frames, config.data.height, config.data.width)
    roles = costly_roles(backbone, *size, ROLE_TOKENS) if config.aligned else None
    return training_step(backbone, *size, roles, config.align.supervise_stride)


@dataclass(frozen=True)
class RunPlan:
    """What `fit --dry-run` says. Bytes are per process, FLOPs and seconds per optimiser step and process."""

    trainable: dict[str, int]
    frozen: int
    step_flops: int
    alignment_flops: int
    weight_bytes: int
    state_bytes: int
    activation_bytes: int
    matmul_rate: float
    seconds_at_full_rate: float
    batch: dict[str, list[int]]

    @property
    def memory_bytes(self) -> int:
        return self.weight_bytes + self.state_bytes + self.activation_bytes


def plan_run(config: Config, device: torch.device) -> RunPlan:
    """The plan of a run on this device; nothing is trained, and no weights are read.

    Activations are those of one forward and backward pass, counted tensor by tensor; workspaces of kernels come on top.
    The time is what the matrix products alone take at the device's measured rate: a lower bound. UserError as for a
    run that would start.
    """
    dtype = DTYPES[config.model.precision]
    where = (config.model.path, config.model.revision)
    backbone = plan_backbone(config)
    encoders, tokenizer = backbone.encoders.count_parameters(*where), backbone.encoders.read_tokenizer(*where)
    if config.train.cache is not None:
        del encoders["text_encoder"]  # it rests on the CPU
    grid = backbone.grid(config.data.frames, config.data.height, config.data.width)
    backbone.encoders.read_scheduler(*where)
    decoders = make_decoders(config.align, grid)
    trainable: Counter[str] = Counter()
    for name, parameter in trainable_parameters(backbone, dict(decoders.items())).items():
        trainable[kind_of(name)] += parameter.numel()
    frozen = sum(p.numel() for p in backbone.model.parameters() if not p.requires_grad)
    activations = peak_bytes(_planned_step(config, backbone))
    passes = config.train.accumulate
    flops = planned_step_flops(config, backbone) * config.train.batch_size * passes
    plain = config.model_copy(update={"align": config.align.model_copy(update={"sga": 0.0, "spa": 0.0})})
    alignment = flops - planned_step_flops(plain, backbone) * config.train.batch_size * passes
    rate = matmul_rate(device, dtype)
    size = torch.finfo(dtype).bits // 8
    with open_stream(
        config.data.model_copy(update={"workers": 0}), "train", tokenizer, grid, config.train.batch_size,
        config.train.seed,
    ) as stream:  # fmt: skip
        batch = next(stream)
    shapes = {f.name: list(v.shape) for f in fields(batch) if isinstance(v := getattr(batch, f.name), torch.Tensor)}
    latent = backbone.latent_shape(config.data.frames, config.data.height, config.data.width)
    shapes["latents"] = [config.train.batch_size, *latent]
    return RunPlan(
        trainable=dict(trainable), frozen=frozen, step_flops=flops, alignment_flops=alignment,
        weight_bytes=(frozen + sum(encoders.values())) * size,
        # Parameter, gradient and AdamW's two moments, all float32.
        state_bytes=16 * sum(trainable.values()),
        activation_bytes=activations * config.train.batch_size,
        matmul_rate=rate, seconds_at_full_rate=flops / rate, batch=shapes,
    )  # fmt: skip


def lines(plan: RunPlan) -> list[str]:
    """For people."""
    trained = ", ".join(f"{kind} {count:,}" for kind, count in plan.trainable.items())
    weights, state, activations, whole = (
        f"{x / 1e9:.2f} GB" for x in (plan.weight_bytes, plan.state_bytes, plan.activation_bytes, plan.memory_bytes)
    )
    share, rate = plan.alignment_flops / plan.step_flops, plan.matmul_rate / 1e12
    return [
        f"trainable    {trained}; frozen {plan.frozen:,} parameters",
        f"a step       {plan.step_flops / 1e12:.3f} TFLOP, {share:.3%} of it for alignment",
        f"memory       {whole}: weights {weights}, training state {state}, activations {activations}",
        f"time         at least {plan.seconds_at_full_rate:.2f} s a step at this device's {rate:.2f} TFLOP/s of plain "
        "matrix products; 40 to 50 % of that rate is a good step",
        *(f"first batch  {name} {'×'.join(map(str, shape))}" for name, shape in plan.batch.items()),
    ]
