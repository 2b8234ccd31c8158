"""What is known of a stage's rows without reading them: where each lies, how it ended, and what leads where."""

import bisect
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas import Status, Usage
from tasks.store.legs import Leg, Machine, merged, summed
from tasks.store.parts import ROW_GROUP, Glance


@dataclass(frozen=True)
class Link:
    """How an accepted row names the keys of the next stage, where those are not its own key."""

    column: str
    """Parquet path of the leaf, so that an index reads it without the rest of the payload."""
    of: Callable[[Any], list[str]]
    """The keys, out of the payload as plain data."""


@dataclass
class Totals:
    """What a stage has on record."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    pending: int = 0
    """Keys of the upstream asked about that have no row; counted in the same look as the others."""
    seconds: float = 0.0
    usage: Usage | None = None
    """What models behind a server cost, over all rows."""
    links: int = 0
    """Keys of the next stage that accepted rows lead to, where the stage has a link."""
    machines: tuple[Machine, ...] = ()
    """Who has done it."""


class Index:
    """Grows part by part, and never shrinks: where a part is gone, a new one is made. Not safe for threads."""

    def __init__(self, link: Link | None) -> None:
        self.link = link
        self.parts: dict[str, int] = {}
        """Parts in the order in which they were taken in, and the place of each one's first row."""
        self.places: dict[str, int] = {}
        """Where each clip's row is: places are counted over all parts, ROW_GROUP a row group. Plain numbers, for there
        is one for every clip and stage, and objects of our own would keep the garbage collector busy."""
        self.reasons: dict[str, str] = {}
        """Of the rejected rows."""
        self.owners: dict[str, str] = {}
        """Keys of the next stage and the row that leads to each, where the stage has a link."""
        self.failures: Counter[str] = Counter()
        self.legs: dict[str, tuple[Leg, ...]] = {}
        """What the work took, by part."""
        self.seconds = 0.0
        self.usage: Usage | None = None
        self._end = 0

    def take_in(self, name: str, part: Glance) -> list[str]:
        """Add a part's rows. Of several rows of one clip the one in the first part by name counts, in whatever order
        parts come; returns the keys whose row is another now."""
        self.parts[name] = self._end
        places = [self._end + g * ROW_GROUP + r for g, size in enumerate(part.groups) for r in range(size)]
        self._end += len(part.groups) * ROW_GROUP
        self.legs[name] = part.legs
        columns = part.columns
        self.seconds += sum(columns["seconds"])
        spent = [Usage(**usage) for usage in columns["usage"] if usage is not None]
        if spent:
            self.usage = sum(spent, start=self.usage or Usage())
        # A clip has the same key at every stage: one string for all.
        keys = [sys.intern(key) for key in columns["key"]]
        payloads = columns["payload"] if self.link else [None] * len(keys)
        rows = zip(places, keys, columns["status"], columns["reason"], payloads, strict=True)
        replaced = []
        for place, key, status, reason, payload in rows:
            if status == Status.FAILED:
                self.failures[key] += 1
            elif key not in self.places or name < self._part_of(self.places[key])[0]:
                replaced += self._drop(key)
                self.places[key] = place
                if status == Status.REJECTED:
                    self.reasons[key] = sys.intern(reason)
                for link in self.link.of(payload) if self.link and status == Status.ACCEPTED else ():
                    # Of several rows that lead to one key the same one wins in any order of parts.
                    self.owners[sys.intern(link)] = max(key, self.owners.get(link, key))
        return replaced

    def _drop(self, key: str) -> list[str]:
        """Forget the row of `key` and what it leads to; returns the key if there was one."""
        if self.places.pop(key, None) is None:
            return []
        self.reasons.pop(key, None)
        self.owners = {link: owner for link, owner in self.owners.items() if owner != key}
        return [key]

    def _part_of(self, place: int) -> tuple[str, int]:
        """The part in which a place is, and the place of that part's first row."""
        names, firsts = list(self.parts), list(self.parts.values())
        i = bisect.bisect_right(firsts, place) - 1
        return names[i], firsts[i]

    def totals(self, asked: list[str]) -> Totals:
        """Counts over the rows of `asked`."""
        known = [key for key in asked if key in self.places]
        rejected = Counter(self.reasons[key] for key in known if key in self.reasons)
        return Totals(
            accepted=len(known) - rejected.total(),
            rejected=rejected,
            pending=len(asked) - len(known),
            seconds=self.seconds,
            usage=self.usage,
            links=len(self.owners),
            machines=summed(map(Machine.of, merged(leg for legs in self.legs.values() for leg in legs))),
        )

    def by_part(self, keys: Iterable[str]) -> dict[str, dict[int, set[int]]]:
        """Where the rows of `keys` are, as far as they have one: places by part and row group, parts by first key."""
        names, firsts = list(self.parts), list(self.parts.values())
        found: dict[str, dict[int, set[int]]] = {}
        for key in sorted(key for key in keys if key in self.places):
            i = bisect.bisect_right(firsts, self.places[key]) - 1
            group, row = divmod(self.places[key] - firsts[i], ROW_GROUP)
            found.setdefault(names[i], {}).setdefault(group, set()).add(row)
        return {name: dict(sorted(groups.items())) for name, groups in found.items()}
