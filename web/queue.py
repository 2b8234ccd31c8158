"""The curated clips in the order in which people look at them, and who has to look at which."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas import TrackNumbers
from tasks.review.journal import Journal
from tasks.review.patches import fold
from tasks.review.rules import Outcome, doubt
from tasks.review.words import Reviewable, Said
from web.store import Build

_CURATE = ["payload.ids.list.element", "payload.interactions.list.element", "payload.numbers"]
_CAPTION = ["payload.caption", "payload.instances.list.element.id", "payload.instances.list.element.cls"] + [
    f"payload.interactions.list.element.{leaf}"
    for leaf in ("text", "verb", "rating.contact", "rating.dynamism", "rating.confidence")
]
_DEDUPE = ["payload.clip.source.dataset", "payload.clip.source.license"]


@dataclass(frozen=True)
class Item:
    """One clip of the queue."""

    clip: str
    chunk: str
    doubt: float
    caption: str
    verbs: tuple[str, ...]
    classes: tuple[str, ...]
    contact: int
    """The highest of its triplets, 1 to 5."""
    dynamism: int
    source: str
    license: str


@dataclass(frozen=True)
class Filter:
    """What a person wants to see. Empty means all."""

    verb: str = ""
    cls: str = ""
    source: str = ""
    reason: str = ""
    reviewer: str = ""
    need: str = ""
    contact: int = 0
    order: str = "doubt"


class Queue:
    """All curated clips, read once; what people say is asked of the journal each time."""

    def __init__(self, build: Build, journal: Journal) -> None:
        self.build, self.journal = build, journal
        self.items = {item.clip: item for item in _items(build)}
        self._outcomes: dict[str, tuple[str, Outcome, tuple[str, ...], frozenset[str]]] = {}

    def clip(self, clip: str) -> Reviewable:
        """KeyError for one that is not in the queue."""
        return self.build.clip(clip, self.items[clip].chunk)

    def said(self, clip: str) -> Said:
        return Said.of(self.journal, clip, self.journal.users())

    def standing(self, clip: str) -> tuple[Outcome, tuple[str, ...], frozenset[str]]:
        """What the words on a clip come to, who has finished with it, and the reasons that were given."""
        state = self.journal.state(clip)
        known = self._outcomes.get(clip)
        if known is None or known[0] != state:
            found: tuple[Outcome, tuple[str, ...], frozenset[str]]
            if not state:
                found = Outcome("first", {}), (), frozenset[str]()
            else:
                shown, said = self.clip(clip), self.said(clip)
                outcome = shown.outcome(said, self.build.review.second_share, self.build.review.seed)
                states = [fold(patches, shown.digests) for patches in said.patches.values()]
                reasons = frozenset(str(d.reason) for s in states for d in s.decisions.values() if d.reason)
                found = outcome, tuple(word.reviewer for word in shown.words(said)), reasons
            known = self._outcomes[clip] = (state, *found)
        return known[1:]

    def find(self, wanted: Filter) -> list[Item]:
        """The clips that fit, in the wanted order."""
        begun = set(self.journal.clips())
        found = [item for item in self.items.values() if self._fits(item, wanted, begun)]
        if wanted.order == "doubt":
            return sorted(found, key=lambda item: (-item.doubt, item.clip))
        return sorted(found, key=lambda item: item.clip)

    def _fits(self, item: Item, wanted: Filter, begun: set[str]) -> bool:
        plain = (
            (not wanted.verb or wanted.verb in item.verbs)
            and (not wanted.cls or wanted.cls in item.classes)
            and (not wanted.source or wanted.source == item.source)
            and item.contact >= wanted.contact
        )
        if not plain or not (wanted.need or wanted.reason or wanted.reviewer):
            return plain
        if item.clip not in begun:
            return wanted.need == "first" and not (wanted.reason or wanted.reviewer)
        outcome, who, reasons = self.standing(item.clip)
        return (
            (not wanted.need or outcome.need == wanted.need)
            and (not wanted.reviewer or wanted.reviewer in who)
            and (not wanted.reason or wanted.reason in reasons)
        )

    def next_for(self, reviewer: str, admin: bool, wanted: Filter, after: str = "") -> str | None:
        """The first clip that this person may look at, and nobody holds; after a clip, if one is named."""
        held = self.journal.claims()
        begun = set(self.journal.clips())
        items = self.find(wanted)
        at = next((n for n, item in enumerate(items) if item.clip == after), -1) + 1
        for item in (*items[at:], *items[:at]):
            if item.clip == after or held.get(item.clip, reviewer) != reviewer:
                continue
            if item.clip not in begun:
                return item.clip
            outcome, who, _ = self.standing(item.clip)
            if outcome.need != "nobody" and reviewer not in who and (outcome.need != "third" or admin or len(who) < 3):
                return item.clip
        return None

    def choices(self) -> dict[str, list[str]]:
        """What there is to filter by."""
        return {
            "verb": _most(verb for item in self.items.values() for verb in item.verbs),
            "cls": _most(cls for item in self.items.values() for cls in item.classes),
            "source": _most(item.source for item in self.items.values()),
        }


def _most(words: Iterable[str]) -> list[str]:
    return sorted(set(words))[:500]


def _items(build: Build) -> Iterator[Item]:
    """Chunk by chunk; only the columns that are shown, for a chunk holds masks too."""
    curate, caption, dedupe = (build.view(stage) for stage in ("curate", "caption", "dedupe"))
    for name, chunk in curate.chunks.items():
        curated = {row["key"]: row["payload"] for row in chunk.columns(_CURATE) if row["payload"]}
        captions = {row["key"]: row["payload"] for row in caption.chunks[name].columns(_CAPTION)}
        sources = {row["key"]: row["payload"]["clip"]["source"] for row in dedupe.chunks[name].columns(_DEDUPE)
                   if row["payload"]}  # fmt: skip
        for key, payload in curated.items():
            yield _item(key, name, payload, captions[key], sources[key])


def _item(
    key: str, chunk: str, curated: Mapping[str, Any], captioned: Mapping[str, Any], source: Mapping[str, Any]
) -> Item:
    acts = [act for act in captioned["interactions"] if act["text"] in curated["interactions"]]
    numbers = [TrackNumbers.model_construct(**n) for n in curated["numbers"] if n["id"] in curated["ids"]]
    return Item(
        clip=key,
        chunk=chunk,
        doubt=doubt(numbers, (act["rating"]["confidence"] for act in acts)),
        caption=captioned["caption"],
        verbs=tuple(act["verb"] for act in acts),
        classes=tuple(i["cls"] for i in captioned["instances"] if i["id"] in curated["ids"]),
        contact=max(act["rating"]["contact"] for act in acts),
        dynamism=max(act["rating"]["dynamism"] for act in acts),
        source=source["dataset"],
        license=source["license"] or "not stated",
    )
