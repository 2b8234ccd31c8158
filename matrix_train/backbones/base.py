"""What the trainer asks of a video diffusion transformer: small, so that a new backbone is one new file.

A backbone owns its model, knows how latents become a grid of tokens, reads role maps at chosen blocks through a
`MapCollector`, and names its trainable parameters.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from matrix_train.attention.grid import Grid
from matrix_train.attention.maps import Direction, Kernel, MapScale, Mode, Taps, attend
from matrix_train.attention.roles import RoleWeights
from matrix_train.backbones.encoders import Encoders
from matrix_train.backbones.objective import Objective

T = TypeVar("T")

Checkpointing = Literal["full", "selective"]
"""What a block forms again in the backward pass: everything, or everything but its attention's output."""

_aten = torch.ops.aten
ATTENTION_KERNELS = (
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
)
"""The fused kernels behind `scaled_dot_product_attention`; `matrix_train.attention.lse` calls the flash ones itself."""

MapKey = tuple[int, Direction]
"""(block, direction)."""


@dataclass(frozen=True)
class Scene:
    """What a video is to be sampled from."""

    image: NDArray[np.uint8]
    """First frame, RGB [H, W, 3]."""
    id_map: NDArray[np.uint8]
    """RGB [H, W, 3]."""
    prompt: Tensor
    """Embeddings [1, L, text width]."""
    empty: Tensor
    """The same of the empty caption, for guidance."""
    frames: int
    steps: int
    guidance: float
    generator: torch.Generator


class Backbone(Protocol):
    """See `backbones.cogvideox.CogVideoX`."""

    name: ClassVar[str]
    """In configurations."""

    model: Any
    """The library's module; frozen but for `trainable`."""
    block_class: ClassVar[str]
    """Name of the class of its blocks."""
    encoders: ClassVar[type[Encoders]]
    """The frozen half of its pipeline."""
    objective: ClassVar[type[Objective]]
    """What its output means; made from the pipeline's scheduler."""

    @classmethod
    def load(cls, name_or_path: str, dtype: torch.dtype = ..., revision: str | None = None) -> Self:
        """From a diffusers pipeline. UserError."""

    @classmethod
    def read_config(cls, name_or_path: str, revision: str | None = None) -> dict[str, Any]:
        """The arguments of `from_config`; no weights are read. UserError."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], dtype: torch.dtype = ..., device: torch.device | str = ...) -> Self:
        """Random weights."""

    @staticmethod
    def make_tiny(
        folder: Path, captions: Iterable[str], frames: int, height: int, width: int, max_tokens: int, seed: int = 0
    ) -> None:
        """Saves a pipeline of its classes with tiny random weights, its tokenizer made from these captions."""

    def sample(self, encoders: Any, scene: Scene) -> NDArray[np.float32]:
        """A video of the model as it stands, frames [T, H, W, 3] in 0 … 1."""

    @property
    def prompt_shape(self) -> tuple[int, int]:
        """Tokens and width of a prompt's embeddings."""

    @property
    def fps(self) -> float:
        """Frames a second of the videos that the model was made for."""

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Frames, channels, height and width of the latents that `predict` takes for a clip of this size in pixels."""

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Token lattice of a clip of this size in pixels. UserError for a size that the model cannot take."""

    def install_taps(
        self, plan: Mapping[int, Sequence[Direction]], mode: Mode, kernel: Kernel, scale: MapScale = ...
    ) -> None:
        """Read these directions at these blocks, and at no others."""

    def add_lora(self, blocks: Sequence[int], rank: int, alpha: int) -> None:
        """Trainable low-rank updates on q, k, v and out of these blocks' attention."""

    def enable_checkpointing(self, kind: Checkpointing) -> None:
        """Form every block's activations again in the backward pass, `selective` without its attention kernel."""

    def compile_blocks(self, *, leave: Collection[int] = ()) -> None:
        """Compiles the blocks without taps, but for those in `leave`. After `install_taps` and `add_lora`."""

    def predict(
        self, latents: Tensor, conditions: Tensor, prompt: Tensor, timesteps: Tensor, roles: RoleWeights | None = None
    ) -> tuple[Tensor, dict[MapKey, Tensor]]:
        """The model's output and the maps of the tapped blocks; without roles no maps are made."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters of the model that training may change, by name."""


@dataclass
class _Step:
    """One forward pass: what to read, and what was read. Closed when the forward pass is over."""

    roles: RoleWeights
    grad: bool
    maps: dict[MapKey, Tensor] = field(default_factory=dict)
    open: bool = True


class MapCollector:
    """Carries roles to the tapped blocks and their maps back, through non-reentrant checkpointing.

    A checkpointed block runs a second time in the backward pass. It must then see the roles of its own forward pass,
    not of a later one, so `checkpoint` takes them along; the maps it makes again are dropped, since the loss holds the
    first ones and those already carry the gradient. Reentrant checkpointing runs the forward pass without gradient: the
    maps would silently have none, so it is refused.
    """

    def __init__(self) -> None:
        self._step: _Step | None = None
        self.kind: Checkpointing = "full"
        self.read = attend
        """How a tapped block attends and reads its maps. The benchmark puts its yardstick here."""
        self.compiled: Callable[..., Any] | None = None
        self._plain: frozenset[nn.Module] = frozenset()

    def collect(
        self, roles: RoleWeights, expected: set[MapKey], forward: Callable[[], T]
    ) -> tuple[T, dict[MapKey, Tensor]]:
        """Runs `forward` with these roles at the tapped blocks. RuntimeError where an expected map was not made."""
        step = _Step(roles, torch.is_grad_enabled())
        with self._during(step):
            result = forward()
        step.open = False
        maps, step.maps = step.maps, {}
        if maps.keys() != expected:
            raise RuntimeError(f"no map came back from {sorted(expected - maps.keys())}: the block did not run")
        return result, maps

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        block: int,
        directions: tuple[Direction, ...],
        mode: Mode,
        kernel: Kernel,
        scale: MapScale,
    ) -> Tensor:
        """For the processor of a tapped block: attention output, the maps stashed by (block, direction)."""
        step = self._step
        if step is None:
            return attend(q, k, v, None)[0]
        if step.grad and not torch.is_grad_enabled():
            raise RuntimeError(
                "reentrant checkpointing drops the maps' gradient: use the backbone's enable_checkpointing()"
            )
        out, maps = self.read(q, k, v, Taps(step.roles, directions, mode, kernel, scale))
        if step.open:
            step.maps.update({(block, direction): values for direction, values in maps.items()})
        return out

    def checkpoint(self, module: nn.Module, *args: Any) -> Any:
        """Non-reentrant checkpointing of one block, in the form that diffusers takes."""
        if self.compiled is not None and module in self._plain:
            return self.compiled(module, self.kind, *args)
        step = self._step

        def run(*inputs: Any) -> Any:
            with self._during(step):
                return module(*inputs)

        return _checkpointed(run, self.kind, *args)

    def compile(self, blocks: Sequence[nn.Module], backend: str | Callable[..., Any]) -> None:
        """Compiles these blocks, none of them tapped: all by one graph, and checkpointing within it.

        Around a compiled block, selective checkpointing would see one operator and no attention kernel to keep.
        """
        for block in blocks:
            block.compile(backend=backend, fullgraph=True)
        self.compiled = torch.compile(_checkpointed, backend=backend, fullgraph=True)
        self._plain = frozenset(blocks)

    @contextmanager
    def _during(self, step: _Step | None) -> Iterator[None]:
        before, self._step = self._step, step
        try:
            yield
        finally:
            self._step = before


def _checkpointed(function: Callable[..., Any], kind: Checkpointing, *args: Any) -> Any:
    if kind == "full":
        return checkpoint(function, *args, use_reentrant=False)
    return checkpoint(function, *args, use_reentrant=False, context_fn=_save_attention)


_save_attention = partial(create_selective_checkpoint_contexts, list(ATTENTION_KERNELS))


def trainable_parameters(backbone: Backbone, decoders: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Exactly {LoRA, input projection, decoders}, by name: what the optimiser gets.

    RuntimeError where anything else of the backbone would get a gradient, or one of these would not.
    """
    wanted = backbone.trainable()
    enabled = {name for name, parameter in backbone.model.named_parameters() if parameter.requires_grad}
    if enabled != wanted.keys():
        raise RuntimeError(f"trainable by mistake or frozen by mistake: {sorted(enabled ^ wanted.keys())}")
    parameters = {f"backbone.{name}": parameter for name, parameter in wanted.items()}
    for family, decoder in decoders.items():
        for name, parameter in decoder.named_parameters():
            if not parameter.requires_grad:
                raise RuntimeError(f"frozen by mistake: the {family} decoder's {name}")
            parameters[f"decoders.{family}.{name}"] = parameter
    return parameters


def kind_of(name: str) -> str:
    """What a trainable parameter is, in words."""
    return "decoders" if name.startswith("decoders.") else "LoRA" if ".lora_" in name else "input projection"
