"""Which predicted instance and triplet means which true one: by the places of the caption that they point at."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas import Captioned, Interaction, Span
from schemas.base import InstanceId
from schemas.truth import TrueTriplet, VideoTruth


@dataclass(frozen=True)
class Paired:
    """A captioned clip held against its video's truth."""

    instances: dict[InstanceId, InstanceId]
    """True ID per predicted ID, one to one. A predicted ID that points at no mention is absent."""
    triplets: tuple[tuple[Interaction, TrueTriplet | None], ...]
    """Every predicted interaction with the true triplet that it states, each true one at most once."""
    missed: tuple[TrueTriplet, ...]


def pair(captioned: Captioned, truth: VideoTruth) -> Paired:
    """Pair IDs by overlap of mentions, then triplets by their two ends and an overlap of the verb spans.

    Spans are compared only where both speak of one text: a caption other than the truth's pairs with nothing.
    """
    if captioned.caption != truth.caption:
        return Paired({}, tuple((act, None) for act in captioned.interactions), truth.triplets)
    instances = pair_instances(captioned.interactions, truth)
    left = list(truth.triplets)
    triplets = []
    for act in captioned.interactions:
        found = next((t for t in left if _states(act, t, instances)), None)
        if found:
            left.remove(found)
        triplets.append((act, found))
    return Paired(instances, tuple(triplets), tuple(left))


def pair_instances(acts: Sequence[Interaction], truth: VideoTruth) -> dict[InstanceId, InstanceId]:
    """True ID per predicted ID: most shared characters first, one to one; of equals the lower IDs."""
    places: dict[InstanceId, set[int]] = {}
    for act in acts:
        places.setdefault(act.subject, set()).update(_characters(act.spans.subject))
        places.setdefault(act.object, set()).update(_characters(act.spans.object))
    mentions = {i.id: _characters(i.mentions) for i in truth.instances}
    shared = sorted(
        (-len(ours & theirs), int(k[2:]), int(t[2:]))
        for k, ours in places.items()
        for t, theirs in mentions.items()
        if ours & theirs
    )
    pairs: dict[InstanceId, InstanceId] = {}
    for _, ours, theirs in shared:
        if f"id{ours}" not in pairs and f"id{theirs}" not in pairs.values():
            pairs[f"id{ours}"] = f"id{theirs}"
    return pairs


def _states(act: Interaction, true: TrueTriplet, instances: Mapping[InstanceId, InstanceId]) -> bool:
    ends = instances.get(act.subject) == true.subject and instances.get(act.object) == true.object
    return ends and bool(_characters(act.spans.verb) & _characters(true.spans.verb))


def _characters(spans: Iterable[Span]) -> set[int]:
    return {place for span in spans for place in range(span.start, span.end)}
