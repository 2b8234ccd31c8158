"""How much memory a computation holds at its worst, counted tensor by tensor: works on the meta device."""

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from matrix_train.plan.flops import fused_attention

# Its class is typed in part only.
_mode: Any = TorchDispatchMode


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes alive at once of what `run` makes, with attention as the fused operator that a GPU runs."""
    with PeakBytes() as memory, fused_attention():
        run()
    return memory.peak


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
