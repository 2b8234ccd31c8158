"""The model that videos are made by: a run's folder, an exported LoRA, a merged model, or the base model of one.

model = Model(Source(path=Path("runs/a")), device=torch.device("cuda"))
model.recipe            # size, steps, blocks, as the run has them
model.backbone          # loaded when it is first asked for
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

import matrix_train
from matrix_train.backbones import Backbone, Encoders, backbone_class
from matrix_train.backbones.encoders import identity
from matrix_train.config import DTYPES, Config, Precision, load_config
from matrix_train.errors import UserError
from matrix_train.export.export import EXPORT_FILE, load_trained
from matrix_train.export.trained import find_checkpoint, read_trained
from matrix_train.fit.rundir import CONFIG_FILE
from schemas.settings import Settings

Kind = Literal["run", "lora", "merged"]


class Source(Settings):
    """Where a model is; kept in the record of a video."""

    path: Path
    checkpoint: str | None = None
    """Of a run: the name of a `step-*` folder; the newest by default."""
    base: str | None = None
    """Where the base model is now, if not where it was in training."""
    untrained: bool = False
    """The base model alone."""
    precision: Precision | None = None
    """The run's by default; of exports bf16 on a GPU and fp32 on a CPU."""


@dataclass(frozen=True)
class Weights:
    """Which weights: what a video depends on, wherever they lie."""

    base: str
    trained: str | None
    """SHA-256 of the checkpoint; None: the base model alone."""
    kind: Kind
    precision: Precision


class Model:
    """See the module. UserError where there is none, or its parts do not fit together."""

    def __init__(self, source: Source, device: torch.device, offload: bool = False) -> None:
        """offload: parts that have nothing to do wait in the host's memory."""
        self.device, self.offload = device, offload
        self.eager: tuple[int, ...] | None = None
        """Blocks that are not compiled, where the others are to be."""
        self.recipe: Config
        """The run's settings; of exports those of the released model's recipe."""
        self.kind, about = _kind_of(source.path)
        self.source = source
        if self.kind == "run":
            self.recipe = load_config(source.path / CONFIG_FILE, [])
            base, revision = self.recipe.model.path, self.recipe.model.revision
            folder = find_checkpoint(source.path, None if source.checkpoint is None else Path(source.checkpoint))
            self.source = source.model_copy(update={"checkpoint": folder.name})
            found = read_trained(folder)
            trained, trained_on = found.sha256, found.backbone
            precision = self.recipe.model.precision
        else:
            if source.checkpoint is not None:
                raise UserError(f"--checkpoint {source.checkpoint}: {source.path} is an export, which holds one alone")
            base, revision, trained = about["base_model"], about["base_revision"], about["checkpoint_sha256"]
            trained_on = about["backbone"]
            precision = "bf16" if device.type == "cuda" else "fp32"
        self.base, self.revision = (base, revision) if source.base is None else (source.base, None)
        try:
            self.kind_of_backbone = backbone_class(self.base, self.revision)
        except UserError as error:
            raise UserError(
                f"the base model of {source.path}: {error}; or say where it is now by --base-path"
            ) from None
        if trained_on != self.kind_of_backbone.name:
            raise UserError(
                f"{source.path} was trained on another base model, a {trained_on}, than {self.base}, a "
                f"{self.kind_of_backbone.name}: give its own by --base-path"
            )
        if self.kind != "run":
            self.recipe = load_config(
                Path(matrix_train.__path__[0], "configs", self.kind_of_backbone.released.recipe), []
            )
        precision = source.precision or precision
        self.source = self.source.model_copy(update={"precision": precision})
        known = identity(self.base, "transformer", self.revision)
        self.weights = Weights(known, None if source.untrained else trained, self.kind, precision)

    @property
    def tagged(self) -> bool | None:
        """Whether it was trained on prompts with tags; None: an export does not say."""
        return self.recipe.data.prompt == "tagged" if self.kind == "run" else None

    @cached_property
    def plan(self) -> Backbone:
        """The backbone on the meta device, for what can be said without weights."""
        kind = self.kind_of_backbone
        return kind.from_config(kind.read_config(self.base, self.revision), device="meta")

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        return self.kind_of_backbone.encoders.read_tokenizer(self.base, self.revision)

    @cached_property
    def encoders(self) -> Encoders:
        dtype = DTYPES[self.weights.precision]
        loaded = self.kind_of_backbone.encoders.load(self.base, dtype, self.revision)
        loaded.vae.to(self.device)  # small beside the others: it stays
        return loaded if self.offload else loaded.to(self.device)

    @cached_property
    def backbone(self) -> Backbone:
        """With what was trained. UserError where it was trained on another base model."""
        dtype, path, kind = DTYPES[self.weights.precision], self.source.path, self.kind_of_backbone
        merged = self.kind == "merged" and not self.source.untrained
        loaded = kind.load(str(path) if merged else self.base, dtype, None if merged else self.revision)
        if not merged and not self.source.untrained:
            checkpoint = None if self.source.checkpoint is None else Path(self.source.checkpoint)
            load_trained(loaded, path, checkpoint)
        loaded.model.eval().requires_grad_(False)
        if self.eager is not None:
            loaded.compile_blocks(leave=self.eager)
        if not self.offload:
            loaded.model.to(self.device)
        return loaded

    @contextmanager
    def at_work(self, *parts: nn.Module) -> Iterator[None]:
        """These parts on the device; away again afterwards, where that is asked for."""
        for part in parts:
            part.to(self.device)
        try:
            yield
        finally:
            if self.offload:
                for part in parts:
                    part.to("cpu")
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()


def _kind_of(path: Path) -> tuple[Kind, dict[str, Any]]:
    """UserError for a folder that is none of the three."""
    if (path / CONFIG_FILE).is_file():
        return "run", {}
    try:
        about = json.loads((path / EXPORT_FILE).read_text(encoding="utf-8"))
        kind = about["kind"]
        known = {name: about[name] for name in ("backbone", "base_model", "base_revision", "checkpoint_sha256")}
        if kind in ("lora", "merged"):
            return kind, known
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path / EXPORT_FILE} is damaged: export again") from None
    raise UserError(
        f"{path} is neither a run folder ({CONFIG_FILE}) nor an export ({EXPORT_FILE}): give what `matrix_train fit` "
        "or `matrix_train export` wrote"
    )
