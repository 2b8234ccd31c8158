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


class Work(Record):
    """What is added up of one machine's work at a stage."""

    machine: str
    keys: Count
    """That have come to an end."""
    batch_s: float
    """The batches' own times, added up."""
    usage: Usage | None = None
    failed: dict[str, Count] = Field(default={})
    """Attempts that broke in their own way, by what they met."""
    gpu_bytes: Count = 0
    """The most that a process of it has held of a GPU's memory so far."""
    spool: dict[str, Count] = Field(default={})
    """What became of files of buckets meanwhile (`tasks.store.spool.counted`)."""

    def _sums(self, other: "Work") -> dict[str, Any]:
        """What both have taken, by field."""
        return {
            "machine": self.machine, "keys": self.keys + other.keys, "batch_s": self.batch_s + other.batch_s,
            "usage": _sum((self.usage, other.usage)), "failed": _plus(self.failed, other.failed),
            "gpu_bytes": max(self.gpu_bytes, other.gpu_bytes), "spool": _plus(self.spool, other.spool),
        }  # fmt: skip


class Leg(Work):
    """Some batches of one leg."""

    leg: str
    """What tells it from the machine's other legs over this chunk and stage."""
    slots: int = 1
    """Batches that may be under way at once."""
    began: float
    ended: float
    """Unix seconds of the first batch's begin and the last one's end."""

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
        began, ended = min(self.began, other.began), max(self.ended, other.ended)
        slots = max(self.slots, other.slots)
        return Leg(leg=self.leg, slots=slots, began=began, ended=ended, **self._sums(other))


class Machine(Work):
    """What one machine has done at a stage, over any number of legs."""

    wall_s: float
    """While a leg of it was under way."""
    room_s: float
    """The same, as often as batches may be under way at once: busy all the time, `batch_s` would be that."""

    @classmethod
    def of(cls, leg: Leg) -> "Machine":
        wall = leg.ended - leg.began
        return cls(wall_s=wall, room_s=wall * leg.slots, **{name: getattr(leg, name) for name in Work.model_fields})

    def __add__(self, other: "Machine") -> "Machine":
        wall, room = self.wall_s + other.wall_s, self.room_s + other.room_s
        return Machine(wall_s=wall, room_s=room, **self._sums(other))

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
