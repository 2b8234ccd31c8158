"""What the trainer asks of a video diffusion transformer, and what all of them that diffusers has do alike.

A backbone owns its model, its conditions and encoders, the lattice of its tokens and what its output means. It reads
role maps at chosen blocks through a `MapCollector`, and names its trainable parameters. docs/extending.md has the
recipe for a new one.
"""

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from peft import LoraConfig
from torch import Tensor, nn

from matrix_train.attention.grid import Grid
from matrix_train.attention.maps import Direction, Kernel, MapScale, Mode
from matrix_train.attention.roles import RoleWeights
from matrix_train.backbones.collector import Attends, Checkpointing, MapCollector, MapKey, Tap
from matrix_train.backbones.encoders import Conditions, Encoders
from matrix_train.backbones.input_projection import grow
from matrix_train.backbones.objective import Objective
from matrix_train.backbones.pretrained import cast, read_config, read_weights
from matrix_train.backbones.scene import Clip, Released, Scene
from matrix_train.errors import UserError


class Backbone(ABC):
    """Takes a model of diffusers as it is, freezes it, grows its input layer for the ID map and makes that trainable.

    A subclass says what is its own; what it inherits goes by diffusers' ways: processors of attention, a list of
    blocks, peft's adapters, a checkpointing function.
    """

    name: ClassVar[str]
    """In configurations."""
    model_class: ClassVar[Any]
    """The transformer's class in diffusers."""
    encoders: ClassVar[type[Encoders]]
    """The frozen half of its pipeline."""
    objective: ClassVar[type[Objective]]
    """What its output means; made from the pipeline's scheduler."""
    released: ClassVar[Released]
    blocks_in: ClassVar[str]
    """The model's list of blocks."""
    attentions: ClassVar[Mapping[Direction, str]]
    """Which attention of a block holds a direction's rows and columns; directions that none holds are left out."""
    lora_targets: ClassVar[str]
    """Modules of a block that get LoRA, as a regular expression."""
    input_layer: ClassVar[str]
    """The layer that noise and conditions enter by."""
    prompts_together: ClassVar[bool] = False
    """Whether its pipeline has the empty prompt and the prompt in one call, in this order; else in one each, the prompt
    first."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.dtype: torch.dtype = model.dtype
        """Of its weights and of what it is given; trained ones may be float32 later."""
        self.collector = MapCollector()
        self._plan: dict[int, tuple[Direction, ...]] = {}
        self.model.requires_grad_(False)
        self.grow_input(model)
        self.input_of(model).requires_grad_(True)

    # What is known without a model.

    @classmethod
    @abstractmethod
    def takes(cls, config: Mapping[str, Any]) -> bool:
        """Whether this is the backbone for a transformer of its class with this configuration."""

    @classmethod
    @abstractmethod
    def input_channels(cls, config: Mapping[str, Any]) -> int:
        """Channels of the input layer with those of the ID map."""

    @classmethod
    @abstractmethod
    def sized(cls, heads: int, blocks: int, frames: int, height: int, width: int) -> dict[str, Any]:
        """The released transformer's arguments with so many heads and blocks, for clips of this size in pixels."""

    @staticmethod
    @abstractmethod
    def make_tiny(folder: Path, captions: Iterable[str], clip: Clip, max_tokens: int, seed: int = 0) -> None:
        """Saves a pipeline of its classes with tiny random weights, its tokenizer made from these captions."""

    @staticmethod
    @abstractmethod
    def pipeline(pipe: Any) -> Any:
        """The parts of diffusers' pipeline as one whose call takes `id_map`."""

    @staticmethod
    @abstractmethod
    def stock_processor() -> Any:
        """Of an attention without a tap."""

    @staticmethod
    @abstractmethod
    def tap_processor(tap: Attends) -> Any:
        """Of one with: diffusers' own, step by step, but for `tap.attend` in the place of attention."""

    @staticmethod
    @abstractmethod
    def lattice(config: Mapping[str, Any], states: Sequence[int]) -> tuple[int, int, int]:
        """Frames, height and width of the tokens that the transformer makes of states of this shape."""

    @classmethod
    def load(cls, name_or_path: str, dtype: torch.dtype = torch.float32, revision: str | None = None) -> Self:
        """From a diffusers checkpoint: a pipeline folder or repository with a `transformer` subfolder. UserError."""
        return cls(read_weights(cls.model_class, name_or_path, "transformer", revision, torch_dtype=dtype))

    @classmethod
    def read_config(cls, name_or_path: str, revision: str | None = None) -> dict[str, Any]:
        """The arguments of a checkpoint's transformer, for `from_config`; no weights are read. UserError."""
        found = read_config(cls.model_class, name_or_path, "transformer", revision)
        known = inspect.signature(cls.model_class.__init__).parameters
        return {name: value for name, value in found.items() if name in known}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Self:
        """Random weights. config: the arguments of `model_class`."""
        with torch.device(device):
            return cls(cast(cls.model_class(**config), dtype))

    @classmethod
    def input_of(cls, model: Any) -> nn.Module:
        """The layer that noise and conditions enter by."""
        found: nn.Module = model.get_submodule(cls.input_layer)
        return found

    @classmethod
    def grow_input(cls, model: Any) -> None:
        """Grows it for the ID map in place, by nothing where it is that wide: step 0 stays the same. UserError."""
        known, wanted = model.config.in_channels, cls.input_channels(model.config)
        if known > wanted:
            raise UserError(f"this model reads {known} input channels, more than the {wanted} that MATRIX gives")
        model.set_submodule(cls.input_layer, grow(cls.input_of(model), known, wanted))
        model.register_to_config(in_channels=wanted)

    # What a model's own geometry says.

    @property
    @abstractmethod
    def prompt_shape(self) -> tuple[int, int]:
        """Tokens and width of a prompt's embeddings."""

    @property
    @abstractmethod
    def fps(self) -> float:
        """Frames a second of the videos that the model was made for."""

    @abstractmethod
    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Frames, channels, height and width of the latents that `predict` takes for a clip of this size in pixels."""

    @abstractmethod
    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Token lattice of a clip of this size in pixels. UserError for a size that the model cannot take."""

    @abstractmethod
    def condition_shapes(self, frames: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """Of one sample's conditions for such a clip, by name, without the batch axis."""

    # What a model computes.

    @abstractmethod
    def forward(self, latents: Tensor, conditions: Conditions, timesteps: Tensor) -> Tensor:
        """The model's output; see `predict`."""

    @abstractmethod
    def denoise(self, encoders: Any, scene: Scene) -> Tensor:
        """A video of the model as it stands, as `encoders.decode` takes it: scaled latents [1, F, C, h, w].

        `scene.cut` is not looked at: that is `guidance.guided`, around it.
        """

    def words(self, conditions: Conditions) -> Tensor | None:  # noqa: ARG002
        """Text tokens that are no padding, bool [B, L]; None where the model takes padding for text."""
        return None

    def predict(
        self, latents: Tensor, conditions: Conditions, timesteps: Tensor, roles: RoleWeights | None = None
    ) -> tuple[Tensor, dict[MapKey, Tensor]]:
        """The model's output and the role maps of the tapped blocks.

        latents: [B, F, C, h, w], noised; F as in `Grid.latent_frames`. conditions: as `Encoders.conditions` made them.
        timesteps: [B]. Returns [B, F, C, h, w] and {(block, direction): [B, R, cells]}, empty without roles.
        RuntimeError under a checkpointing function that would lose the roles or the maps' gradient.
        """
        if roles is None:
            return self.forward(latents, conditions, timesteps), {}
        model = self.model
        # Bound methods are made afresh on each access, hence != and not `is not`.
        if model.gradient_checkpointing and model._gradient_checkpointing_func != self.collector.checkpoint:
            raise RuntimeError("foreign checkpointing loses the roles: call the backbone's enable_checkpointing()")
        expected = {(block, direction) for block, directions in self._plan.items() for direction in directions}
        return self.collector.collect(
            roles, expected, lambda: self.forward(latents, conditions, timesteps), self.words(conditions)
        )

    def blank(self, batch: int, frames: int, height: int, width: int) -> tuple[Tensor, Conditions, Tensor]:
        """All-zero latents, conditions and timesteps for `predict`, where the model is, in its dtype."""
        factory: dict[str, Any] = {"device": self.model.device, "dtype": self.dtype}
        latents = torch.zeros(batch, *self.latent_shape(frames, height, width), **factory)
        shapes = self.condition_shapes(frames, height, width)
        conditions = {name: torch.zeros(batch, *shape, **factory) for name, shape in shapes.items()}
        return latents, conditions, torch.zeros(batch, dtype=torch.long, device=self.model.device)

    # Taps, adapters, checkpointing.

    @property
    def blocks(self) -> Sequence[Any]:
        found: Sequence[Any] = getattr(self.model, self.blocks_in)
        return found

    @property
    def block_class(self) -> str:
        """Name of the class of its blocks."""
        return type(self.blocks[0]).__name__

    def install_taps(
        self,
        plan: Mapping[int, Sequence[Direction]],
        mode: Mode = "logits",
        kernel: Kernel = "auto",
        scale: MapScale = "heads",
    ) -> None:
        """Read these directions at these blocks, and at no others: our processor there, diffusers' own elsewhere.

        UserError for a block that does not exist, and for a direction that no attention of this model holds.
        """
        self.check_blocks(plan)
        for direction in {direction for directions in plan.values() for direction in directions}:
            if direction not in self.attentions:
                raise UserError(f"no attention of {self.name} reads {direction}: give {' or '.join(self.attentions)}")
        for block in self._plan:
            for attention in set(self.attentions.values()):
                self.blocks[block].get_submodule(attention).set_processor(self.stock_processor())
        self._plan = {block: tuple(directions) for block, directions in plan.items()}
        for block, directions in self._plan.items():
            for attention in set(self.attentions.values()):
                if own := tuple(d for d in directions if self.attentions[d] == attention):
                    tap = Tap(self.collector, block, own, mode, kernel, scale)
                    self.blocks[block].get_submodule(attention).set_processor(self.tap_processor(tap))

    def add_lora(self, blocks: Sequence[int], rank: int, alpha: int) -> None:
        """Trainable low-rank updates on these blocks' `lora_targets` alone; their B matrices start at zero.

        UserError for a block that does not exist.
        """
        self.check_blocks(blocks)
        pattern = rf"{re.escape(self.blocks_in)}\.({'|'.join(map(str, blocks))})\.({self.lora_targets})"
        self.model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern))
        # peft freezes everything that is not an adapter.
        self.input_of(self.model).requires_grad_(True)

    def enable_checkpointing(self, kind: Checkpointing = "full") -> None:
        """Form every block's activations again in the backward pass, `selective` without its attention kernel.

        Non-reentrant, over every block, with each block's roles taken along. `selective` keeps each block's attention
        output and log-sum-exp: the kernel is most of what `full` would run a second time.
        """
        self.collector.kind = kind
        self.model.enable_gradient_checkpointing(self.collector.checkpoint)

    def compile_blocks(self, backend: str | Callable[..., Any] = "inductor", leave: Collection[int] = ()) -> None:
        """Compiles the blocks without taps, once for all of them. After `install_taps` and `add_lora`.

        Rounding differs from the stock model's. Tapped blocks stay as they are: they leave maps behind on their way. So
        do those in `leave`, which get taps at some time later.
        """
        eager = {*self._plan, *leave}
        self.collector.compile([block for i, block in enumerate(self.blocks) if i not in eager], backend)

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters of the model that training may change, by name: LoRA and the whole input layer."""
        return {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if ".lora_A." in name or ".lora_B." in name or name.startswith(f"{self.input_layer}.")
        }

    def check_blocks(self, blocks: Iterable[int]) -> None:
        last = len(self.blocks) - 1
        for block in blocks:
            if not 0 <= block <= last:
                raise UserError(f"block {block} does not exist: this model has blocks 0 to {last}")
