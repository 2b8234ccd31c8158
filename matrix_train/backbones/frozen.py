"""How a block's frozen weights lie between their uses: in 8 bits, or in the host's memory, or both.

    store_frozen(blocks, fp8=True)          # half of bfloat16's bytes
    swap = Swap(blocks[20:])                # none on the device but those of the block at work and of the next

Both are for models that do not fit on one GPU otherwise, and both replace the frozen `nn.Linear` of a block by
`FrozenLinear`, which makes its wide weight anew in every pass. So they want checkpointing: without it, autograd would
keep every wide weight until the backward pass. LoRA's matrices, biases and norms stay as they are.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

FP8 = torch.float8_e4m3fn


class FrozenLinear(nn.Linear):
    """A linear layer that is never trained, whose weight comes from where it is kept."""

    scale: Tensor | None
    """[out, 1]; the weight is what is kept times this."""

    def __init__(self, old: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = old.in_features, old.out_features
        self.weight, self.bias = old.weight, old.bias
        self.register_buffer("scale", None, persistent=False)
        self.home: tuple[Swap, int, int] | None = None
        """Where the weight lies while it is swapped out: block, and place in what the block keeps."""

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        if self.home is not None:
            swap, block, start = self.home
            weight = swap.weight(x, block, start, self.out_features, self.in_features)
        weight = weight.to(x.dtype)
        if self.scale is not None:
            # Scales are powers of two: they round nothing. Not in place, which a compiled checkpoint does not take.
            weight = weight * self.scale.to(x.dtype)
        return F.linear(x, weight, self.bias)

    def to_fp8(self) -> None:
        """Each output's weights by a power of two, so that its largest is just below what e4m3 can hold.

        Without a scale, weights of a few hundredths would lie where e4m3 has two bits left, or none.
        """
        with torch.no_grad():
            largest = self.weight.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-30)
            self.scale = torch.exp2((largest / torch.finfo(FP8).max).log2().ceil()).to(self.weight.dtype)
            self.weight = nn.Parameter((self.weight / self.scale).to(FP8), requires_grad=False)


def store_frozen(blocks: Sequence[nn.Module], fp8: bool) -> list[list[FrozenLinear]]:
    """Every frozen linear layer of these blocks as a `FrozenLinear`, in 8 bits where asked; by block. After LoRA."""
    found: list[list[FrozenLinear]] = []
    for block in blocks:
        found.append([module for module in block.modules() if isinstance(module, FrozenLinear)])
        for parent in list(block.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear and not child.weight.requires_grad:
                    layer = FrozenLinear(child)
                    parent.register_module(name, layer)
                    found[-1].append(layer)
    for layer in (layer for layers in found for layer in layers):
        if fp8 and layer.scale is None:
            layer.to_fp8()
    return found


class Swap:
    """Keeps the frozen weights of some blocks in the host's memory, pinned, and fetches a block's when it runs.

    They only ever go to the device: nothing changed there, so nothing comes back. While a block runs, the next one's
    are on their way, on a stream of their own: the next in the order in which blocks were asked for, forwards in the
    forward pass and backwards in the backward pass, where a checkpointed block runs again. What autograd still needs it
    holds itself.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self.host: list[Tensor] = []
        self._here: dict[int, tuple[Tensor, Any]] = {}
        self._current, self._forwards = -1, True
        self._stream: Any = None
        _SWAPS[id(self)] = self
        for number, layers in enumerate(store_frozen(blocks, fp8=False)):
            kept = torch.cat([layer.weight.detach().flatten() for layer in layers])
            if kept.device.type != "meta":
                kept = kept.cpu().pin_memory() if torch.cuda.is_available() else kept.cpu()
            self.host.append(kept)
            start = 0
            for layer in layers:
                layer.home = (self, number, start)
                start += layer.weight.numel()
                layer.weight = nn.Parameter(kept.new_empty(0), requires_grad=False)

    def weight(self, x: Tensor, block: int, start: int, rows: int, columns: int) -> Tensor:
        """One layer's weight [rows, columns], where x is."""
        kept = self.host[block]
        if kept.device.type == "meta":  # a plan's: there is nothing to send
            return kept[start : start + rows * columns].view(rows, columns)
        weight: Tensor = _fetched(x.detach(), id(self), block, start, rows, columns)
        return weight

    @property
    def held_bytes(self) -> int:
        """On the device at once: the block at work and the next."""
        return sum(sorted(weights.nbytes for weights in self.host)[-2:])

    def fetch(self, block: int, device: torch.device) -> Tensor:
        """The weights of this block on the device, one after the other."""
        if block != self._current:
            if self._current >= 0:
                self._forwards = block > self._current
            following = block + (1 if self._forwards else -1)
            self._current = block
            wanted = [block] + [following] * (0 <= following < len(self.host))
            before = self._here
            for number in before.keys() - wanted:
                _wait(before[number][1], device)  # sent for, and not asked for: it must not be written to when freed
            # First let go, then send: the memory of the one is the other's.
            self._here = {number: before[number] for number in wanted if number in before}
            del before
            for number in wanted:
                if number not in self._here:
                    self._here[number] = self.send(number, device)
        weights, sent = self._here[block]
        _wait(sent, device)
        return weights

    @torch.no_grad()
    def send(self, block: int, device: torch.device) -> tuple[Tensor, Any]:
        """The copy begun, and on CUDA what to wait for.

        The memory is of the stream that computes, so it is free again as soon as that stream is done with it; the
        copy waits for what that stream was given before, which may still read the same memory.
        """
        kept = self.host[block]
        weights = torch.empty_like(kept, device=device)
        if device.type != "cuda":
            return weights.copy_(kept), None
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            weights.copy_(kept, non_blocking=True)
            return weights, self._stream.record_event()


_SWAPS: WeakValueDictionary[int, Swap] = WeakValueDictionary()


def _fetch(like: Tensor, swap: int, block: int, start: int, rows: int, columns: int) -> Tensor:
    weights = _SWAPS[swap].fetch(block, like.device)
    return weights[start : start + rows * columns].view(rows, columns)


_fetched: Any = torch.library.custom_op("matrix_train::fetched", _fetch, mutates_args=())
"""An operator of its own, so that a block's forward pass and its repetition look the same to selective checkpointing:
nobody sees whether the weights are there already or must be sent for."""
_fetched.register_fake(_fetch)


def _wait(sent: Any, device: torch.device) -> None:
    if sent is not None:
        torch.cuda.current_stream(device).wait_event(sent)


def frozen_weights(module: nn.Module) -> tuple[int, int, int]:
    """Of what is not trained: numbers, bytes on the device at once, and bytes in the host's memory."""
    kept = [t for t in (*module.parameters(), *module.buffers()) if not t.requires_grad]
    swaps = {layer.home[0] for layer in module.modules() if isinstance(layer, FrozenLinear) and layer.home is not None}
    host = [weights for swap in swaps for weights in swap.host]
    numbers = sum(p.numel() for p in module.parameters() if not p.requires_grad) + sum(w.numel() for w in host)
    held = sum(t.nbytes for t in kept) + sum(swap.held_bytes for swap in swaps)
    return numbers, held, sum(w.nbytes for w in host)
