"""The whole configuration of a run: YAML, `--set a.b=c` on top, unknown keys are errors.

    config = load_config(Path("configs/tiny.yaml"), ["train.steps=50"])

Sections that belong to one component are defined beside it (`data.DataConfig`); `configs/` holds two files with every
key and its meaning.
"""

import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import torch
import yaml
from pydantic import Field, TypeAdapter, model_validator

from matrix_train.attention.kernels import AttentionKernel
from matrix_train.attention.maps import Kernel, MapScale, Mode
from matrix_train.attention.roles import Family
from matrix_train.data.config import DataConfig
from matrix_train.errors import UserError
from schemas.settings import Settings, override, parse_mapping, validate

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
Decay = Annotated[float, Field(ge=0, lt=1)]


class ModelConfig(Settings):
    path: str = Field(description="diffusers pipeline: a folder, or a name on the hub")
    revision: str | None = Field(default=None, description="commit or tag on the hub")
    make_random: str | None = Field(
        default=None,
        description="where the folder `path` does not exist, make a tiny pipeline of this backbone there first, "
        "of random weights: for machines without any, never for results",
    )
    precision: Precision = Field(default="bf16", description="of the frozen weights and of the forward pass")
    checkpointing: Literal["none", "full", "selective"] = Field(
        default="full", description="activations formed again in the backward pass; selective keeps attention outputs"
    )
    attention: AttentionKernel = Field(
        default="auto",
        description="fused kernel of attention, auto is PyTorch's choice; `matrix_train bench --ladder` times them",
    )
    compile: bool = Field(
        default=False,
        description="compile the blocks that no tap reads, with the first step: some minutes once, then faster steps "
        "on a GPU; rounding differs a little from the stock model's",
    )
    frozen: Literal["precision", "fp8"] = Field(
        default="precision",
        description="how the blocks' frozen weights are kept: in model.precision, or in 8 bits (e4m3, a scale for each "
        "output) that every pass makes wide again, for models that do not fit otherwise",
    )
    swap: int = Field(
        default=0,
        ge=0,
        description="blocks, the last ones, whose frozen weights lie in the host's memory and go to the GPU when their "
        "block runs",
    )


class LoraConfig(Settings):
    blocks: tuple[int, ...] = Field(default=(7, 11, 12), min_length=1, description="attention blocks that get LoRA")
    rank: int = Field(default=128, ge=1, description="rank of the update")
    alpha: int = Field(default=64, ge=1, description="the update is scaled by alpha / rank")


class AlignConfig(Settings):
    """SGA and SPA (paper §5)."""

    sga: float = Field(default=0.01, ge=0, description="λ of grounding alignment; 0 leaves it out")
    spa: float = Field(default=0.005, ge=0, description="λ of propagation alignment; 0 leaves it out")
    sga_blocks: tuple[int, ...] = Field(default=(7, 11), description="blocks whose text attention SGA reads")
    spa_blocks: tuple[int, ...] = Field(default=(12,), description="blocks whose video attention SPA reads")
    sga_direction: Literal["v2t", "t2v"] = Field(default="v2t", description="t2v is the paper's ablation, and worse")
    attention_map: Mode = Field(
        default="centred",
        description="logits as the released code, centred: these less their row's mean over all keys, softmax as the "
        "paper's §4; see docs/decisions/0009-maps-in-nats.md",
    )
    map_scale: MapScale = Field(
        default="heads",
        description="of logits and centred: heads is q·k/√d, mean over heads; joint is q·k/√(H·d) over the joint "
        "width, √H times as much, as in the released code",
    )
    kernel: Kernel = Field(
        default="auto", description="how softmax v2t gets its normaliser; see docs/training/attention_maps.md"
    )
    supervise_stride: Literal[1, 2, 4, 8] = Field(default=1, description="pixels between supervised points")
    channels: int = Field(default=8, ge=1, description="width of the decoders")
    prior: float | None = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="the decoders start by giving a map at its reference this probability of being inside; null: one "
        "in the number of video tokens, and then they start by taking attention itself as the probability",
    )
    calibrate: bool = Field(
        default=True,
        description="at step 0, take for a map's reference, block by block, the level that it is found at on training "
        "clips; the decoders start right then, wherever a model's maps lie",
    )
    bce: float = Field(default=1.0, ge=0, description="β of binary cross-entropy")
    dice: float = Field(default=1.0, ge=0, description="β of 1 − Dice")
    l2: float = Field(default=1.0, ge=0, description="β of the squared difference")
    max_pos_weight: float = Field(default=10.0, ge=1, description="cap of BCE's weight of positive pixels")
    timestep_weight: Literal["none", "signal", "diffusion"] = Field(
        default="none",
        description="of each sample's alignment: signal is ᾱ_t, so that near-pure noise counts less; diffusion is "
        "w(t), the weight of its diffusion loss, as in the released code",
    )
    warmup: int = Field(default=0, ge=0, description="steps over which λ grows from 0")
    decay: float = Field(
        default=1.0, ge=0, le=1, description="share of λ left at the last step, along a cosine from the warm-up on"
    )
    stop_at: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="a family's λ becomes 0 once its maps' correlation with the masks reaches this at a validation",
    )

    @property
    def tapped(self) -> dict[Family, tuple[int, ...]]:
        """Blocks of the families that have a λ, ascending."""
        families: dict[Family, tuple[float, tuple[int, ...]]] = {
            "sga": (self.sga, self.sga_blocks), "spa": (self.spa, self.spa_blocks),
        }  # fmt: skip
        return {family: tuple(sorted(set(blocks))) for family, (scale, blocks) in families.items() if scale > 0}


class OptimConfig(Settings):
    lr: float = Field(default=1e-5, gt=0, le=1, description="peak learning rate of LoRA and input projection")
    decoder_lr: float = Field(
        default=1e-4,
        gt=0,
        le=1,
        description="peak learning rate of decoders, few numbers that must follow their maps: LoRA's holds them still",
    )
    betas: tuple[Decay, Decay] = Field(
        default=(0.9, 0.95), description="how much of the means of gradient and squared gradient AdamW keeps a step"
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="share of lr by which weights shrink a step, in AdamW")
    eps: float = Field(default=1e-8, gt=0, description="added to the root that AdamW divides by")
    warmup: int = Field(default=100, ge=0, description="steps of linear warm-up, then cosine to zero at the last step")
    clip: float = Field(default=1.0, gt=0, description="gradients are scaled to at most this norm")


class TrainConfig(Settings):
    out: str = Field(description="run folder; the only place written to")
    steps: int = Field(default=4000, ge=1, description="optimiser steps of the whole run")
    batch_size: int = Field(default=1, ge=1, description="samples per process and forward pass")
    accumulate: int = Field(default=1, ge=1, description="forward passes per optimiser step")
    caption_dropout: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of samples trained without caption, and then without SGA",
    )
    image_noise: bool = Field(
        default=True,
        description="the first frame gets noise σ = exp(N(−3, 0.5)) before the VAE, where the model was made so",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of plan, timesteps, noise, dropout and new weights")
    cache: str | None = Field(
        default=None,
        description="folder of latents and text embeddings, 6 MB a clip at 49 × 480 × 720; null encodes at every step",
    )
    precompute: bool = Field(
        default=True,
        description="fill train.cache first with what it lacks; where it cannot be written or the disk lacks room, say "
        "so and encode at every step",
    )
    deterministic: bool = Field(
        default=False,
        description="operators that give the same bits each time, slower; without it only a CPU does",
    )
    parallel: Literal["ddp", "fsdp"] = Field(default="ddp", description="with several processes (accelerate launch)")


class ValidateConfig(Settings):
    every: int = Field(default=250, ge=0, description="steps between validations; also at step 0; 0 turns it off")
    clips: int = Field(default=8, ge=1, description="held-out clips")
    timesteps: tuple[int, ...] = Field(default=(200, 500, 800), min_length=1, description="fixed timesteps")
    videos: int = Field(default=2, ge=0, description="clips sampled at validations, beside the original; 0: none")
    video_every: int = Field(
        default=500, ge=1, description="steps between sampled videos, a multiple of validation.every; also at step 0"
    )
    sampling_steps: int = Field(default=50, ge=1, le=1000, description="denoising steps of a sampled video")
    guidance: float = Field(default=6.0, ge=1, description="classifier-free guidance of a sampled video")


class CheckpointConfig(Settings):
    every: int = Field(default=250, ge=0, description="steps between checkpoints; 0: only by time and at the end")
    minutes: float = Field(default=30.0, ge=0, description="minutes between checkpoints; 0: only by steps")
    keep: int = Field(default=3, ge=1, description="newest checkpoints to keep")


class LogConfig(Settings):
    to: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        default=("tensorboard",), description="beside metrics.jsonl: tensorboard, wandb where it is installed, or []"
    )
    every: int = Field(default=10, ge=1, description="steps between the numbers written")


class Config(Settings):
    """One run. Every problem that can be seen without a model or data is found here."""

    model: ModelConfig
    data: DataConfig
    lora: LoraConfig = LoraConfig()
    align: AlignConfig = AlignConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig
    validation: ValidateConfig = ValidateConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for family, scale, blocks in (
            ("sga", self.align.sga, self.align.sga_blocks),
            ("spa", self.align.spa, self.align.spa_blocks),
        ):
            if scale and not blocks:
                raise ValueError(f"align.{family} is {scale}, but align.{family}_blocks is empty")
        if self.align.stop_at is not None and not self.validation.every:
            raise ValueError("align.stop_at looks at validations: set validation.every, or align.stop_at=null")
        if not all(0 <= t < 1000 for t in self.validation.timesteps):
            raise ValueError("validation.timesteps must lie between 0 and 999")
        validation = self.validation
        if validation.every and validation.videos and validation.video_every % validation.every:
            raise ValueError(
                f"validation.video_every={validation.video_every} must be a multiple of validation.every="
                f"{validation.every}: videos are sampled at validations"
            )
        if self.train.parallel == "fsdp" and self.validation.every and self.validation.videos:
            raise ValueError(
                "sampling needs the whole model on each GPU: set validation.videos=0 or train.parallel=ddp"
            )
        model = self.model
        if (model.swap or model.frozen == "fp8") and model.checkpointing == "none":
            raise ValueError(
                "model.swap and model.frozen=fp8 save nothing without model.checkpointing: set it to selective"
            )
        if (model.swap or model.frozen == "fp8") and self.train.parallel == "fsdp":
            raise ValueError(
                "model.swap and model.frozen=fp8 are for one GPU: set train.parallel=ddp, or leave them out"
            )
        if model.swap and model.compile:
            raise ValueError("blocks that are swapped cannot be compiled: set model.swap=0 or model.compile=false")
        if self.train.cache and self.data.flip:
            raise ValueError("train.cache holds latents of unmirrored clips: set data.flip=0 or train.cache=null")
        return self

    @property
    def aligned(self) -> bool:
        return self.align.sga > 0 or self.align.spa > 0


def load_config(path: Path, overrides: list[str]) -> Config:
    """UserError in one line: no such file, bad YAML, unknown key, bad value."""
    try:
        data = parse_mapping(path.read_text(encoding="utf-8"), f"config {path}")
        for text in overrides:
            override(data, text)
        return validate(Config, data)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"config {path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except ValueError as error:
        raise UserError(str(error)) from None


def dump_config(config: Config) -> str:
    """The effective configuration as YAML: every key written out, with its meaning above it."""
    lines: list[str] = []
    for section, inside in config:
        lines.append(f"{section}:")
        for name, field in type(inside).model_fields.items():
            meaning = "; ".join(filter(None, [field.description, _choices(field.annotation)]))
            lines += [f"  # {line}" for line in textwrap.wrap(meaning, 114)]
            value = config_value(getattr(inside, name))
            lines.append(f"  {name}: {value}")
        lines.append("")
    return "\n".join(lines)


def _choices(annotation: Any) -> str:
    """The values of a setting that has only a few, in words."""
    if get_origin(annotation) is not Literal:
        return ""
    *others, last = map(str, get_args(annotation))
    return f"{', '.join(others)} or {last}"


def config_value(value: Any) -> str:
    """One value in YAML's flow style."""
    plain = TypeAdapter(Any).dump_python(value, mode="json")
    text: str = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
