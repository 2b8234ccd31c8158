"""Carries roles to the tapped blocks of a forward pass and their maps back, checkpointed or not."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from matrix_train.attention.maps import Direction, Kernel, Layout, MapScale, Mode, Taps, attend
from matrix_train.attention.roles import RoleWeights

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

MOST_GRAPHS = 64
"""Kinds of compiled blocks (model, LoRA or none, size, gradients) in a process, all models together: models of one kind
share theirs. At the compiler's own 8, what `sample` compares could end the run."""

MapKey = tuple[int, Direction]
"""(block, direction)."""


@dataclass
class _Step:
    """One forward pass: what to read, and what was read. Closed when the forward pass is over."""

    roles: RoleWeights
    words: Tensor | None
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
        self._compiled: frozenset[nn.Module] = frozenset()

    def collect(
        self, roles: RoleWeights, expected: set[MapKey], forward: Callable[[], T], words: Tensor | None = None
    ) -> tuple[T, dict[MapKey, Tensor]]:
        """Runs `forward` with these roles at the tapped blocks. RuntimeError where an expected map was not made.

        words: text tokens that are no padding, bool [B, L] (`attention.maps.Taps.words`).
        """
        step = _Step(roles, words, torch.is_grad_enabled())
        with self._during(step):
            result = forward()
        step.open = False
        maps, step.maps = step.maps, {}
        if maps.keys() != expected:
            raise RuntimeError(f"no map came back from {sorted(expected - maps.keys())}: the block did not run")
        return result, maps

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tap: "Tap", layout: Layout) -> Tensor:
        """For the processor of a tapped block: attention output, the maps stashed by (block, direction)."""
        step = self._step
        if step is None:
            return attend(q, k, v, None)[0]
        if step.grad and not torch.is_grad_enabled():
            raise RuntimeError(
                "reentrant checkpointing drops the maps' gradient: use the backbone's enable_checkpointing()"
            )
        taps = Taps(step.roles, tap.directions, tap.mode, tap.kernel, tap.scale, layout, step.words)
        out, maps = self.read(q, k, v, taps)
        if step.open:
            step.maps.update({(tap.block, direction): values for direction, values in maps.items()})
        return out

    def checkpoint(self, module: nn.Module, *args: Any) -> Any:
        """Non-reentrant checkpointing of one block, in the form that diffusers takes."""
        if module in self._compiled:
            return module(*args, checkpointing=self.kind)
        step = self._step

        def run(*inputs: Any) -> Any:
            with self._during(step):
                return module(*inputs)

        return _checkpointed(run, self.kind, *args)

    def compile(self, blocks: Sequence[nn.Module], backend: str | Callable[..., Any]) -> None:
        """Compiles these blocks, none of them tapped: all by one graph, and checkpointing within it.

        Around a compiled block, selective checkpointing would see one operator and no attention kernel to keep. Hooks
        stay outside: FSDP's, which gather a block's weights, cannot be part of a graph.
        """
        torch._dynamo.config.recompile_limit = max(MOST_GRAPHS, torch._dynamo.config.recompile_limit)
        plain, kept = (torch.compile(run, backend=backend, fullgraph=True) for run in (_called, _checkpointed))
        for block in blocks:
            block.forward = partial(_compiled_forward, block.forward, plain, kept)
        self._compiled = frozenset(blocks)

    @contextmanager
    def _during(self, step: _Step | None) -> Iterator[None]:
        before, self._step = self._step, step
        try:
            yield
        finally:
            self._step = before


class Attends(Protocol):
    """What a processor of ours hands q, k and v to: a tap, or what stands in its place."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor: ...


class Reads(Protocol):
    """Who computes a tapped attention: `MapCollector`, or another that makes something else of what it sees."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tap: "Tap", layout: Layout) -> Tensor:
        """See `Tap.attend`."""


@dataclass(frozen=True)
class Tap:
    """What an attention's processor reads, and where to."""

    collector: Reads
    block: int
    directions: tuple[Direction, ...]
    mode: Mode
    kernel: Kernel
    scale: MapScale

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
        """q: [B, H, N, d], k and v: [B, H, M, d], as attention sees them. The output [B, H, N, d]."""
        return self.collector.attend(q, k, v, self, layout)


def _compiled_forward(
    forward: Callable[..., Any], plain: Callable[..., Any], kept: Callable[..., Any], *args: Any,
    checkpointing: Checkpointing | None = None, **kwargs: Any,
) -> Any:  # fmt: skip
    """In place of a block's `forward`, which one of the two compiled functions is given."""
    return plain(forward, *args, **kwargs) if checkpointing is None else kept(forward, checkpointing, *args)


def _called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def _checkpointed(function: Callable[..., Any], kind: Checkpointing, *args: Any) -> Any:
    if kind == "full":
        return checkpoint(function, *args, use_reentrant=False)
    return checkpoint(function, *args, use_reentrant=False, context_fn=_save_attention)


_save_attention = partial(create_selective_checkpoint_contexts, list(ATTENTION_KERNELS))
