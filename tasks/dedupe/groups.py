"""What may not be parted: clips of one video, and videos that look alike, stand on one side of the split.

Dedupe knows, for each clip, the most similar earlier clip within its report distance. Videos so linked, over any number
of steps, are a group. A video on record keeps its group for good, so that what was held out stays held out: new videos
follow those on record that they are linked to. Which side a group stands on is for stage `shard`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple


class Kin(NamedTuple):
    """Where a new video belongs."""

    group: str
    near: tuple[str, ...] = ()
    """Other groups that the video itself is linked to: it is in no dataset where they stand on another side."""


def group_sources(links: Iterable[tuple[str, str]], new: Iterable[str], known: Mapping[str, str]) -> dict[str, Kin]:
    """The group of every new source. `links` are pairs of sources that look alike, `known` the groups on record.

    New sources that are linked to none of these are a group named after the first of them by ID, others follow the
    first group that one of them is linked to. Follows from the arguments alone, not from the order of clips.
    """
    linked: dict[str, set[str]] = defaultdict(set)
    for one, two in links:
        linked[one].add(two)
        linked[two].add(one)
    found: dict[str, Kin] = {}
    for members in _components(sorted(set(new) - known.keys()), linked, known):
        met = {source: {known[other] for other in linked[source] if other in known} for source in members}
        group = min(set[str]().union(*met.values()), default=members[0])
        found |= {source: Kin(group, tuple(sorted(met[source] - {group}))) for source in members}
    return found


def _components(sources: list[str], links: Mapping[str, set[str]], without: Mapping[str, str]) -> Iterator[list[str]]:
    """Sources that are linked over any number of steps, `without` those; each sorted."""
    seen: set[str] = set()
    for first in sources:
        if first in seen:
            continue
        found, edge = {first}, [first]
        while edge:
            fresh = links.get(edge.pop(), set()) - found - without.keys()
            found |= fresh
            edge += fresh
        seen |= found
        yield sorted(found)
