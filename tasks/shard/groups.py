"""What may not be parted: clips of one video, and videos that look alike, stand on one side of the split.

Dedupe has on record, for each clip, the most similar earlier clip within its report distance. Videos so linked, over
any number of steps, are a group. A video in the dataset keeps its group for good, so that what was held out stays held
out: new videos follow those in the dataset that they are linked to.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tasks.dataset.split import split_of


@dataclass(frozen=True)
class Kin:
    """How the clips on record hang together: all that were ingested, for what stands between two may be rejected."""

    source_of: Mapping[str, str]
    """source_id by clip_id."""
    near: Mapping[str, str]
    """clip_id of the most similar earlier clip, for clips that have one (tasks/dedupe/stage.py, `nearest_of`)."""


def group_sources(kin: Kin, listed: Mapping[str, str], val_share: float) -> tuple[dict[str, str], dict[str, str]]:
    """The group of every source, and the sources that can be on no side, each with the held-out one that it is near to.

    `listed` has the group of each source in the dataset. New sources that are linked to none of these are a group named
    after the first of them by ID. Those linked to one side take the first group there. Those linked to both are trained
    on, and the ones among them that are themselves near to a held-out video are left out. Follows from the arguments
    alone: the order in which clips came does not matter.
    """
    links = _links(kin)
    groups = dict(listed)
    apart: dict[str, str] = {}
    for members in _components(sorted(set(kin.source_of.values()) - listed.keys()), links, listed):
        met = sorted({listed[other] for source in members for other in links[source] if other in listed})
        sides = {split_of(group, val_share) for group in met}
        side = "train" if len(sides) == 2 else None
        group = next((g for g in met if side in (None, split_of(g, val_share))), members[0])
        groups |= dict.fromkeys(members, group)
        if side:
            for source in members:
                held = sorted(o for o in links[source] if o in listed and split_of(listed[o], val_share) != side)
                apart |= {source: held[0]} if held else {}
    return groups, apart


def _links(kin: Kin) -> dict[str, set[str]]:
    """The sources that each source is linked to. A clip that is not on record now links nothing."""
    links: dict[str, set[str]] = defaultdict(set)
    for clip, other in kin.near.items():
        if clip in kin.source_of and other in kin.source_of:
            one, two = kin.source_of[clip], kin.source_of[other]
            links[one].add(two)
            links[two].add(one)
    return links


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
