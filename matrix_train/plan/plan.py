"""What a run will cost, before it starts: parameters, FLOPs, memory and time of a step (`fit --dry-run`).

Counted on the meta device, so the full 5B plan needs neither weights nor GPU.
"""

from collections import Counter
from dataclasses import dataclass, fields

import torch

from matrix_train.align.losses import make_decoders
from matrix_train.backbones import Encoders, trainable_parameters
from matrix_train.backbones.configured import plan_backbone
from matrix_train.backbones.frozen import frozen_weights
from matrix_train.backbones.trainable import kind_of
from matrix_train.config import DTYPES, Config
from matrix_train.data import open_stream
from matrix_train.plan.cost import (
    blank_clip,
    plan_encoders,
    planned_encoding,
    planned_sampling,
    planned_step,
    step_cost,
)
from matrix_train.plan.flops import count_flops, matmul_rate
from matrix_train.plan.memory import peak_bytes


@dataclass(frozen=True)
class RunPlan:
    """What `fit --dry-run` says. Bytes are per process, FLOPs and seconds per optimiser step and process."""

    trainable: dict[str, int]
    frozen: int
    step_flops: int
    """All that is done: what follows, and what checkpointing forms again."""
    encoding_flops: int
    again_flops: int
    alignment_flops: int
    weight_bytes: int
    host_bytes: int
    """Of blocks that are swapped out, pinned in the host's memory; the device's share is counted above."""
    state_bytes: int
    activation_bytes: int
    """Of a training step."""
    encoding_bytes: int
    """While a sample is encoded; nothing of the step is held then."""
    sampling_bytes: int
    """While a video is sampled and decoded; 0 where none is."""
    filling_bytes: int
    """While the cache is filled, encoders included, before all else is loaded; 0 where there is nothing to fill."""
    matmul_rate: float
    seconds_at_full_rate: float
    batch: dict[str, list[int]]

    @property
    def memory_bytes(self) -> int:
        """The peak. Encoding, training and sampling take turns."""
        turns = (self.activation_bytes, self.encoding_bytes, self.sampling_bytes)
        return max(self.filling_bytes, self.weight_bytes + self.state_bytes + max(turns))


def plan_run(config: Config, device: torch.device, fills: bool = False) -> RunPlan:
    """The plan of a run on this device; nothing is trained, and no weights are read. fills: its cache first.

    Activations are those of one forward and backward pass, counted tensor by tensor; workspaces of kernels come on top.
    The time is what the matrix products alone take at the device's measured rate: a lower bound. UserError as for a
    run that would start, but for kernels that this device lacks: the run may be planned for another.
    """
    dtype = DTYPES[config.model.precision]
    backbone, encoders = plan_backbone(config), plan_encoders(config)
    grid = backbone.grid(config.data.frames, config.data.height, config.data.width)
    decoders = make_decoders(config.align, grid)
    trainable: Counter[str] = Counter()
    for name, parameter in trainable_parameters(backbone, dict(decoders.items())).items():
        trainable[kind_of(name)] += parameter.numel()
    frozen, held, host = frozen_weights(backbone.model)
    encoding = _held(encoders)
    batch_size = config.train.batch_size
    cost = step_cost(config)
    plain = config.model_copy(update={"align": config.align.model_copy(update={"sga": 0.0, "spa": 0.0})})
    without = count_flops(planned_step(plain, plan_backbone(plain))) * batch_size * config.train.accumulate
    rate = matmul_rate(device, dtype)
    with open_stream(
        config.data.model_copy(update={"workers": 0}), "train", encoders.tokenizer, grid, batch_size, config.train.seed
    ) as stream:
        batch = next(stream)
    shapes = {f.name: list(v.shape) for f in fields(batch) if isinstance(v := getattr(batch, f.name), torch.Tensor)}
    latent = backbone.latent_shape(config.data.frames, config.data.height, config.data.width)
    shapes["latents"] = [batch_size, *latent]
    return RunPlan(
        trainable=dict(trainable), frozen=frozen,
        step_flops=cost.done, encoding_flops=cost.encoding, again_flops=cost.again,
        alignment_flops=cost.model + cost.again - without,
        weight_bytes=held + encoding, host_bytes=host,
        # Parameter, gradient and AdamW's two moments, all float32.
        state_bytes=16 * sum(trainable.values()),
        activation_bytes=peak_bytes(planned_step(config, backbone)) * batch_size,
        encoding_bytes=peak_bytes(planned_encoding(config, encoders), encoders.repeated()) * batch_size,
        sampling_bytes=max(
            (peak_bytes(run, encoders.repeated()) for run in planned_sampling(config, backbone, encoders)), default=0
        ),
        filling_bytes=_filling_bytes(config) if fills else 0,
        matmul_rate=rate, seconds_at_full_rate=cost.done / rate, batch=shapes,
    )  # fmt: skip


def _filling_bytes(config: Config) -> int:
    encoders = plan_encoders(config, whole=True)
    return _held(encoders) + peak_bytes(lambda: encoders.encode(*blank_clip(config)), encoders.repeated())


def _held(encoders: Encoders) -> int:
    """Bytes of their weights."""
    return sum(frozen_weights(module)[1] for module in encoders.modules())


def lines(plan: RunPlan) -> list[str]:
    """For people."""
    trained = ", ".join(f"{kind} {count:,}" for kind, count in plan.trainable.items())
    whole, weights, state, *turns = (
        f"{x / 1e9:.2f} GB" for x in (
            plan.memory_bytes, plan.weight_bytes, plan.state_bytes, plan.activation_bytes, plan.encoding_bytes,
            plan.sampling_bytes,
        )
    )  # fmt: skip
    encoding, again, alignment = (
        f"{x / plan.step_flops:.{digits}%}"
        for x, digits in ((plan.encoding_flops, 0), (plan.again_flops, 0), (plan.alignment_flops, 3))
    )
    rate = plan.matmul_rate / 1e12
    return [
        f"trainable    {trained}; frozen {plan.frozen:,} parameters",
        f"a step       {plan.step_flops / 1e12:.3f} TFLOP: {encoding} of it VAE and text encoder, {again} formed again "
        f"in the backward pass, {alignment} alignment",
        f"memory       {whole}: weights {weights}, training state {state}, and in turns activations {turns[0]}, "
        f"encoding {turns[1]}, sampling {turns[2]}",
        *([f"before that  {plan.filling_bytes / 1e9:.2f} GB to fill the cache"] if plan.filling_bytes else []),
        *([f"swapped out  {plan.host_bytes / 1e9:.2f} GB of the host's memory"] if plan.host_bytes else []),
        f"time         at least {plan.seconds_at_full_rate:.2f} s a step at this device's {rate:.2f} TFLOP/s of plain "
        "matrix products; 40 to 50 % of that rate is a good step",
        *(f"first batch  {name} {'×'.join(map(str, shape))}" for name, shape in plan.batch.items()),
    ]
