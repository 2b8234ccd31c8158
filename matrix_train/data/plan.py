"""Which samples make up which batch: a pure function of (seed, epoch, world, rank, batch size).

    plan = Plan(keys, seed=0, batch_size=2, world=4, rank=1)
    plan.batch(position)        # the refs of this rank's batch after `position` batches, in whatever process

Every sample comes once an epoch. Positions count on over epochs, so a position is all that a checkpoint has to keep.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Ref(NamedTuple):
    """One place of an epoch's order. `position` is that of the batch it belongs to."""

    epoch: int
    place: int
    position: int


class Plan:
    """The order of every epoch, cut into batches of one rank.

    An epoch is padded to whole batches on every rank by beginning its order again, so all ranks take the same number of
    steps. Ranks are disjoint but for that padding.
    """

    def __init__(self, keys: Sequence[str], seed: int, batch_size: int = 1, world: int = 1, rank: int = 0) -> None:
        """keys: of the split's samples, unique, in any order; not empty."""
        self.keys = tuple(sorted(keys))
        self.seed, self.batch_size, self.world, self.rank = seed, batch_size, world, rank
        self._orders: dict[int, tuple[str, ...]] = {}

    @property
    def batches_per_epoch(self) -> int:
        """Of each rank."""
        return -(-len(self.keys) // (self.world * self.batch_size))

    def order(self, epoch: int) -> tuple[str, ...]:
        """All keys in the order of this epoch: sorted by a hash, so that no library's shuffle can change it."""
        if epoch not in self._orders:
            order = sorted(self.keys, key=lambda key: digest(f"order {self.seed} {epoch} {key}"))
            # Where batches are read ahead, two epochs are in use at once.
            self._orders = {**dict(list(self._orders.items())[-1:]), epoch: tuple(order)}
        return self._orders[epoch]

    def batch(self, position: int) -> list[Ref]:
        """The refs of the batch that follows `position` batches."""
        epoch, step = divmod(position, self.batches_per_epoch)
        first = (step * self.world + self.rank) * self.batch_size
        return [Ref(epoch, (first + i) % len(self.keys), position) for i in range(self.batch_size)]

    def walk(self, ref: Ref) -> Iterator[str]:
        """The key of this place, then those that stand in for it, in the epoch's order: every key once."""
        order = self.order(ref.epoch)
        return (order[(ref.place + i) % len(order)] for i in range(len(order)))


def digest(text: str) -> int:
    """64 bits of a hash that is the same in every process and version (Python's `hash` is not)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
