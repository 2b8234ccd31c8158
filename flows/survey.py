"""What stands in the store, counted from listings: the funnel is the sum of one small tally a chunk and stage.

A tally is a file named after the state that it was counted in: the parts that stand there and upstream. Where it
stands, nothing is opened; where it is missing, since somebody works there or was killed, the chunk's rows are counted.
Looking writes nothing: who holds a lease leaves tallies behind (`settle`).
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.chunk import Chunk
from flows.legs import CUTTER, RECORDED, SPECS, before
from flows.tally import Tally, total
from tasks.scan.cutting import LISTED
from tasks.store.chunks import chunk_names
from tasks.store.parts import FAIL, PART

if TYPE_CHECKING:
    from flows.context import Context

TALLY = "tally-"
"""Begin of a tally's name, in the folder of its chunk or, of a stage that sees everything, of its stage."""


KEPT = 8
"""Chunks that stay open from one look to the next: those under work are counted again at each."""


class Survey:
    """One look at a build after another. Not for several threads at once."""

    def __init__(self, context: "Context", only: str = "") -> None:
        """only: the one chunk that is looked at; the lines are then those of it alone."""
        self.context, self.only = context, only
        self._files: dict[tuple[str, str], dict[str, int]] = {}
        """By stage and chunk ("" for the stage's own folder), the files there and their sizes in bytes."""
        self._counted: dict[tuple[str, str], tuple[str, Tally]] = {}
        """By stage and chunk, the line counted last and the state that it was counted in."""
        self._open: dict[tuple[str, str], Chunk] = {}
        """Chunks that had to be opened since the last look, by unit and name."""
        self._before: dict[tuple[str, str], Chunk] = {}
        self.look()

    def look(self, *stages: str) -> "Survey":
        """List the store anew, or these stages alone: one listing a stage."""
        looked = stages or RECORDED
        self._files = {place: files for place, files in self._files.items() if place[0] not in looked}
        self._before, self._open = self._open, {}
        for stage in looked:
            for name, size in self.context.folder.walk(self.context.place(stage, self.only)):
                chunk, _, file = f"{self.only}/{name}".strip("/").rpartition("/")
                self._files.setdefault((stage, chunk), {})[file] = size
        return self

    def chunks(self, stage: str) -> list[str]:
        """Names of the chunks that a stage has work in, in order."""
        spec = SPECS[stage]
        cutter = stage if spec.whole else CUTTER.get(spec.unit, stage)
        return chunk_names(chunk for name, chunk in self._files if name == cutter)

    def begun(self, stage: str) -> bool:
        """Whether the stage has rows."""
        return any(self._parts(stage, chunk) for name, chunk in self._files if name == stage)

    def funnel(self) -> list[Tally]:
        """Every stage's line. A stage where something is lost raises AssertionError."""
        return [self.tally(stage) for stage in RECORDED]

    def tally(self, stage: str) -> Tally:
        """The stage's line."""
        line = total(stage, [self.of_chunk(stage, chunk) for chunk in self.chunks(stage)])
        earlier = before(stage)
        if SPECS[stage].batch or earlier is None or self.settled(stage):
            return line
        # While it is not settled, what has come since it was last has to wait for it.
        waiting = max(0, self._led_on(earlier) - self._decided(stage, line))
        return line.model_copy(update={"arrived": line.arrived + waiting, "pending": waiting})

    def pending(self, stage: str) -> list[str]:
        """The chunks in which something is pending at a stage that goes in batches."""
        return [chunk for chunk in self.chunks(stage) if self.of_chunk(stage, chunk).pending]

    def unsettled(self, stage: str) -> list[str]:
        """The chunks that have to be counted at each look, for no tally stands there: their run was killed."""
        return [chunk for chunk in self.chunks(stage) if not self._on_record(stage, chunk, self.state(stage, chunk))]

    def ahead(self, stages: Sequence[str]) -> list[str]:
        """Of these stages, from the first one on that has something to do: those after may get it."""
        return list(itertools.dropwhile(lambda stage: not self.tally(stage).pending, stages))

    def of_chunk(self, stage: str, chunk: str) -> Tally:
        """The stage's line over one chunk; of a stage that sees everything, its rows there."""
        state = self.state(stage, chunk)
        counted = self._counted.get((stage, chunk))
        if counted is None or counted[0] != state:
            line = self._on_record(stage, chunk, state) or self._count(stage, chunk)
            counted = self._counted[stage, chunk] = (state, line)
        return counted[1]

    def _count(self, stage: str, chunk: str) -> Tally:
        earlier = before(stage)
        if SPECS[stage].whole:
            rows = Chunk(self.context, chunk).store(stage).totals()  # not kept: nobody adds to it
            return Tally.of(stage, rows, rows.accepted + rows.rejected.total())
        if earlier and not self._parts(stage, chunk):
            return Tally.waiting(stage, _leads_on(self.of_chunk(earlier, chunk)))
        return self._opened(stage, chunk).tally(stage)

    def _opened(self, stage: str, chunk: str) -> Chunk:
        place = _unit(stage), chunk
        if place not in self._open:
            opened = self._before.get(place) or Chunk(self.context, chunk)
            opened.refresh()
            self._open[place] = opened
            for oldest in list(self._open)[:-KEPT]:
                del self._open[oldest]
        return self._open[place]

    def state(self, stage: str, chunk: str = "") -> str:
        """16 hex digits over the parts of a stage in a chunk and those that lead to them; without a chunk, over all.

        A part never changes under its name, so what was counted in a state holds in it; one cut short has another size.
        """
        earlier = before(stage)
        chunks = [chunk] if chunk else self.chunks(stage)
        own = [[name, *self._parts(stage, name)] for name in chunks]
        above = [] if earlier is None or (chunk and SPECS[stage].whole) else [chunk] if chunk else self.chunks(earlier)
        upstream = [self.state(earlier, name) for name in above] if earlier else []
        return hashlib.sha256(json.dumps([own, upstream]).encode()).hexdigest()[:16]

    def state_of_all(self) -> str:
        """16 hex digits over all rows that there are."""
        states = [self.state(stage) for stage in RECORDED]
        return hashlib.sha256(json.dumps([states, self.context.fingerprints]).encode()).hexdigest()[:16]

    def _parts(self, stage: str, chunk: str) -> list[tuple[str, int]]:
        """Names and sizes."""
        files = self._files.get((stage, chunk), {})
        return sorted(pair for pair in files.items() if pair[0].startswith((PART, FAIL, LISTED)))

    def _on_record(self, stage: str, chunk: str, state: str) -> Tally | None:
        name = f"{TALLY}{state}.json"
        return self._read(stage, chunk, name) if name in self._files.get((stage, chunk), ()) else None

    def _read(self, stage: str, chunk: str, name: str) -> Tally | None:
        try:
            return Tally.model_validate_json(self.context.folder.read(f"{self.context.place(stage, chunk)}/{name}"))
        except (ValueError, FileNotFoundError):  # damaged, or replaced meanwhile: it can be counted at any time
            return None

    # stages that see everything

    def settled(self, stage: str) -> bool:
        """Whether a stage has seen all that there is for it, by the mark that it left then."""
        return f"{TALLY}{self.state(stage)}.json" in self._files.get((stage, ""), ())

    def _led_on(self, stage: str) -> int:
        return sum(_leads_on(self.of_chunk(stage, chunk)) for chunk in self.chunks(stage))

    def _decided(self, stage: str, line: Tally) -> int:
        """On how many keys of the stage before it had decided when it was settled last."""
        marks = [self._read(stage, "", name) for name in self._tallies(stage, "")]
        return max((mark.arrived for mark in marks if mark), default=line.arrived)

    # for who holds a lease

    def settle(self, stage: str, chunk: str = "") -> None:
        """Leave the tally of what stands now, in the place of earlier ones; without a chunk, the mark of the stage."""
        earlier = before(stage)
        line = self.of_chunk(stage, chunk) if chunk else Tally.waiting(stage, self._led_on(earlier) if earlier else 0)
        name, place = f"{TALLY}{self.state(stage, chunk)}.json", self.context.place(stage, chunk)
        data = line.model_dump_json().encode()
        if name not in self._files.get((stage, chunk), ()):
            self.context.folder.write(f"{place}/{name}", data)
        for old in self._tallies(stage, chunk) - {name}:
            self.context.folder.remove(f"{place}/{old}")
            del self._files[stage, chunk][old]
        self._files.setdefault((stage, chunk), {})[name] = len(data)

    def unsettle(self, stage: str, chunk: str) -> None:
        """Have the rows counted anew: some of them could not be read."""
        for name in self._tallies(stage, chunk):
            self.context.folder.remove(f"{self.context.place(stage, chunk)}/{name}")
            del self._files[stage, chunk][name]
        self._counted.pop((stage, chunk), None)
        for opened in (self._open, self._before):  # what they know is from before
            opened.pop((_unit(stage), chunk), None)

    def _tallies(self, stage: str, chunk: str) -> set[str]:
        return {name for name in self._files.get((stage, chunk), ()) if name.startswith(TALLY)}


def _unit(stage: str) -> str:
    """Stages of one unit go through the same chunks; one that sees everything has its own."""
    return "" if SPECS[stage].whole else SPECS[stage].unit


def _leads_on(line: Tally) -> int:
    """Keys of the next stage that a line's rows lead to."""
    return line.links if SPECS[line.stage].link else line.accepted
