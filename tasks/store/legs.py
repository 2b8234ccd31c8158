"""What work on rows took: on which machine, how long, with what. It lies in the footer of the part that holds the rows,
so that a kill loses none of it and looking costs nothing; no row and no dataset knows of it.

A leg is one run of one machine over a chunk at a stage. Its batches are added up as their parts are merged; in tallies
legs are added up to machines.
"""

import os
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import Field

from schemas import Record, Row, Status, Usage
from schemas.base import Count


class Leg(Record):
    """Some batches of one leg."""

    machine: str
    leg: str
    """What tells it from the machine's other legs over this chunk and stage."""
    slots: int = 1
    """Batches that may be under way at once."""
    began: float
    ended: float
    """Unix seconds of the first batch's begin and the last one's end."""
    batch_s: float
    """The batches' own times, added up."""
    keys: Count
    """That have come to an end."""
    usage: Usage | None = None
    failed: dict[str, Count] = Field(default={})
    """Attempts that broke in their own way, by what they met."""
    gpu_bytes: Count = 0
    """The most that the process has held of a GPU's memory so far."""
    spool: dict[str, Count] = Field(default={})
    """What became of files of buckets meanwhile (`tasks.store.spool.counted`)."""

    @classmethod
    def of(cls, rows: Sequence[Row[Any]], began: float, ended: float, **more: Any) -> "Leg":
        """Of one batch, whose rows are written now."""
        ends = [row for row in rows if row.status is not Status.FAILED]
        failed = Counter(row.detail.partition(":")[0][:80] for row in rows if row.status is Status.FAILED)
        return cls(
            machine=machine(), began=began, ended=ended, batch_s=ended - began, keys=len(ends),
            usage=_sum(row.usage for row in rows), failed=failed, **more,
        )  # fmt: skip

    def __add__(self, other: "Leg") -> "Leg":
        """More of the same leg."""
        return Leg(
            machine=self.machine, leg=self.leg, slots=max(self.slots, other.slots),
            began=min(self.began, other.began), ended=max(self.ended, other.ended),
            batch_s=self.batch_s + other.batch_s, keys=self.keys + other.keys, usage=_sum((self.usage, other.usage)),
            failed=_plus(self.failed, other.failed), gpu_bytes=max(self.gpu_bytes, other.gpu_bytes),
            spool=_plus(self.spool, other.spool),
        )  # fmt: skip


class Machine(Record):
    """What one machine has done at a stage, over any number of legs."""

    machine: str
    keys: Count
    batch_s: float
    wall_s: float
    """While a leg of it was under way."""
    room_s: float
    """The same, as often as batches may be under way at once: busy all the time, `batch_s` would be that."""
    usage: Usage | None = None
    failed: dict[str, Count] = Field(default={})
    gpu_bytes: Count = 0
    spool: dict[str, Count] = Field(default={})

    @classmethod
    def of(cls, leg: Leg) -> "Machine":
        wall = leg.ended - leg.began
        return cls(
            machine=leg.machine, keys=leg.keys, batch_s=leg.batch_s, wall_s=wall, room_s=wall * leg.slots,
            usage=leg.usage, failed=leg.failed, gpu_bytes=leg.gpu_bytes, spool=leg.spool,
        )  # fmt: skip

    def __add__(self, other: "Machine") -> "Machine":
        return Machine(
            machine=self.machine, keys=self.keys + other.keys, batch_s=self.batch_s + other.batch_s,
            wall_s=self.wall_s + other.wall_s, room_s=self.room_s + other.room_s,
            usage=_sum((self.usage, other.usage)), failed=_plus(self.failed, other.failed),
            gpu_bytes=max(self.gpu_bytes, other.gpu_bytes), spool=_plus(self.spool, other.spool),
        )  # fmt: skip

    @property
    def per_second(self) -> float | None:
        """Keys a second of the time that it was at work."""
        return round(self.keys / self.wall_s, 2) if self.wall_s else None

    @property
    def busy(self) -> float | None:
        """Share of the room for batches that was taken."""
        return round(self.batch_s / self.room_s, 3) if self.room_s else None


@cache
def machine() -> str:
    """This machine's name, with the GPU where this process is given one of several."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return socket.gethostname() + (f" gpu {gpu}" if gpu else "")


def merged(legs: Iterable[Leg]) -> tuple[Leg, ...]:
    """Each leg once, in the order of their begins."""
    found: dict[tuple[str, str], Leg] = {}
    for leg in legs:
        at = leg.machine, leg.leg
        found[at] = found[at] + leg if at in found else leg
    return tuple(sorted(found.values(), key=lambda leg: (leg.began, leg.machine, leg.leg)))


def summed(machines: Iterable[Machine]) -> tuple[Machine, ...]:
    """Each machine once, by name."""
    found: dict[str, Machine] = {}
    for one in machines:
        found[one.machine] = found[one.machine] + one if one.machine in found else one
    return tuple(found[name] for name in sorted(found))


def _sum(spent: Iterable[Usage | None]) -> Usage | None:
    some = [usage for usage in spent if usage]
    return sum(some[1:], start=some[0]) if some else None


def _plus(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted((Counter(one) + Counter(other)).items()))
