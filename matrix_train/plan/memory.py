"""How much memory a computation holds at its worst, counted tensor by tensor: works on the meta device."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from matrix_train.plan.flops import fused_attention

# Its class is typed in part only.
_mode: Any = TorchDispatchMode


def peak_bytes(run: Callable[[], object], repeated: Sequence[nn.Module] = ()) -> int:
    """Most bytes alive at once of what `run` makes, with attention as the fused operator that a GPU runs.

    repeated: modules that it calls again and again on the same shapes, see `counted_once`.
    """
    with PeakBytes() as memory, fused_attention(), ExitStack() as stack:
        for module in repeated:
            stack.enter_context(counted_once(module, memory))
        run()
    return memory.peak


@contextmanager
def counted_once(module: nn.Module, memory: "PeakBytes") -> Iterator[None]:
    """Inside, the module is run once for each shape of its arguments; each later call costs what that one did.

    The count is the same to the byte: a tile of a VAE takes what its neighbour takes, and a clip has some sixty. Not
    for modules that keep something between calls, nor with gradients, whose graph would be missing. A result that
    shares memory with an argument or another result is made again each time.
    """
    forward = module.forward
    known: dict[Any, tuple[int, Any, list[Callable[[], Any]]] | None] = {}

    def once(*args: Any, **kwargs: Any) -> Any:
        given, shape = tree_flatten((args, kwargs))
        key = (str(shape), *((tuple(x.shape), x.dtype) if isinstance(x, Tensor) else x for x in given))
        found = known.get(key)
        if found is not None:
            rise, tree, leaves = found
            memory.peak = max(memory.peak, memory.live + rise)
            return tree_unflatten([make() for make in leaves], tree)
        before, peak = memory.live, memory.peak
        memory.peak = before
        result = forward(*args, **kwargs)
        rise, memory.peak = memory.peak - before, max(peak, memory.peak)
        leaves, tree = tree_flatten(result)
        storages = [x.untyped_storage()._cdata for x in (*leaves, *given) if isinstance(x, Tensor)]
        known[key] = (rise, tree, [_maker(x) for x in leaves]) if len(set(storages)) == len(storages) else None
        return result

    module.forward = once
    try:
        yield
    finally:
        del module.forward


def _maker(x: Any) -> Callable[[], Any]:
    """Makes its like; what it is made from is not held."""
    if not isinstance(x, Tensor):
        return lambda: x
    return partial(torch.empty_strided, x.shape, x.stride(), dtype=x.dtype, device=x.device)


class PeakBytes(_mode):  # type: ignore[misc]
    """`with PeakBytes() as memory: run()`; then `memory.peak`: most bytes alive at once of what was made inside.

    Counts storages, each once however many views it has, until the last reference to it is gone. Workspaces inside
    kernels are not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.live = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # Views share their argument's storage, which may have been made outside.
        before = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in before:
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.live -= size

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
