"""The curated clips in the order in which people look at them, and who has to look at which."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from schemas import TrackNumbers
from tasks.review.journal import ConflictError, Journal
from tasks.review.patches import fold
from tasks.review.rules import Outcome, Progress, doubt
from tasks.review.words import Reviewable, Said
from web.store import Build

_CURATE = ["payload.ids.list.element", "payload.interactions.list.element", "payload.numbers"]
_CAPTION = ["payload.caption", "payload.instances.list.element.id", "payload.instances.list.element.cls"] + [
    f"payload.interactions.list.element.{leaf}"
    for leaf in ("text", "verb", "rating.contact", "rating.dynamism", "rating.confidence")
]
_DEDUPE = ["payload.clip.source.dataset", "payload.clip.source.license"]


AHEAD, AT_HAND = 16, 256
"""Clips that are read together, and that stay open."""


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
    """At least; so is the next."""
    dynamism: int = 0
    order: str = ""
    """name, or else doubt first."""

    @property
    def query(self) -> str:
        """As the end of an address, so that whoever goes from clip to clip stays among these."""
        said = urlencode({name: value for name, value in asdict(self).items() if value})
        return said and f"?{said}"


@dataclass(frozen=True)
class Standing:
    """Where a clip is between people."""

    outcome: Outcome
    who: tuple[str, ...]
    """Who has finished with it, in order."""
    reasons: frozenset[str]
    """That were given for any of its tracks."""


NEEDS = {
    "first": "not looked at yet", "second": "waits for a second person", "third": "waits for a third, as two differ",
    "nobody": "decided",
}  # fmt: skip
"""`Outcome.need` in plain words."""

NOBODY = Standing(Outcome("first", {}), (), frozenset())


class Queue:
    """All curated clips, read once; what people say is asked of the journal each time."""

    def __init__(self, build: Build, journal: Journal) -> None:
        self.build, self.journal = build, journal
        self.items = {item.clip: item for item in sorted(_items(build), key=_by_doubt)}
        """Doubt first."""
        self._by_name = sorted(self.items.values(), key=lambda item: item.clip)
        self._outcomes: dict[str, tuple[int, Standing]] = {}
        self._near = _neighbours(self.items.values())
        self._open: OrderedDict[str, Reviewable] = OrderedDict()
        self._held, self._reading = threading.Lock(), threading.Lock()
        """Of what is at hand, for a moment; and of the store, so that no two read the same."""

    def clip(self, clip: str) -> Reviewable:
        """KeyError for one that is not in the queue.

        Those last asked for stay at hand, for a person asks for the same one many times; what the queue comes to next
        is read along, for opening a chunk is what costs.
        """
        if found := self._at_hand(clip):
            return found
        with self._reading:
            if found := self._at_hand(clip):  # read by whom one has waited for
                return found
            item = self.items[clip]
            chunk, place = self._near[item.chunk], self._near[item.chunk].index(clip)
            fresh = [name for name in chunk[place : place + AHEAD] if name not in self._open]
            read = self.build.clips(fresh, item.chunk)
            with self._held:
                self._open.update(read)
                while len(self._open) > AT_HAND:
                    self._open.popitem(last=False)
            return read[clip]

    def _at_hand(self, clip: str) -> Reviewable | None:
        with self._held:
            if clip in self._open:
                self._open.move_to_end(clip)
            return self._open.get(clip)

    def said(self, clip: str) -> Said:
        return Said.of(self.journal, clip, self.journal.users())

    def standing(self, clip: str, patches: int) -> Standing:
        """What the words on a clip come to. patches: how many it has (`Journal.versions`)."""
        known = self._outcomes.get(clip)
        if known is None or known[0] != patches:
            known = self._outcomes[clip] = (patches, self._fold(clip) if patches else NOBODY)
        return known[1]

    def _fold(self, clip: str) -> Standing:
        shown, said = self.clip(clip), self.said(clip)
        states = [fold(patches, shown.digests) for patches in said.patches.values()]
        return Standing(
            shown.outcome(said, self.build.review.second_share, self.build.review.seed),
            tuple(word.reviewer for word in shown.words(said)),
            frozenset(str(d.reason) for s in states for d in s.decisions.values() if d.reason),
        )

    def progress(self, arrived: Sequence[str], wanted: float, begun: Mapping[str, int]) -> Progress:
        """How far people are with the clips that have arrived in a chunk; those that came after us nobody has seen.

        wanted: the share of `review.wait`; begun: `Journal.versions`.
        """
        looked_at = [clip for clip in arrived if clip in begun and clip in self.items]
        decided = (clip for clip in looked_at if self.standing(clip, begun[clip]).outcome.word is not None)
        return Progress(wanted, len(arrived), frozenset(decided), frozenset(looked_at))

    def decided(self, begun: Mapping[str, int]) -> bool:
        """Whether nobody need look at any clip any more. begun: `Journal.versions`."""
        if not self.items or not self.items.keys() <= begun.keys():  # before any clip is read
            return False
        return all(self.standing(clip, begun[clip]).outcome.need == "nobody" for clip in self.items)

    def find(self, wanted: Filter) -> list[Item]:
        """The clips that fit, in the wanted order."""
        begun = self.journal.versions()
        items = self._by_name if wanted.order == "name" else self.items.values()
        return [item for item in items if self._fits(item, wanted, begun)]

    def _fits(self, item: Item, wanted: Filter, begun: Mapping[str, int]) -> bool:
        plain = (
            (not wanted.verb or wanted.verb in item.verbs)
            and (not wanted.cls or wanted.cls in item.classes)
            and (not wanted.source or wanted.source == item.source)
            and item.contact >= wanted.contact
            and item.dynamism >= wanted.dynamism
        )
        if not plain or not (wanted.need or wanted.reason or wanted.reviewer):
            return plain
        if item.clip not in begun:
            return wanted.need == "first" and not (wanted.reason or wanted.reviewer)
        standing = self.standing(item.clip, begun[item.clip])
        return (
            (not wanted.need or standing.outcome.need == wanted.need)
            and (not wanted.reviewer or wanted.reviewer in standing.who)
            and (not wanted.reason or wanted.reason in standing.reasons)
        )

    def wants(self, clip: str, reviewer: str, admin: bool, patches: int) -> bool:
        """Whether this person may still say something of a clip that counts."""
        standing = self.standing(clip, patches)
        need, who = standing.outcome.need, standing.who
        return need != "nobody" and reviewer not in who and (need != "third" or admin or len(who) < 3)

    def take_next(self, reviewer: str, admin: bool, wanted: Filter, seconds: float, after: str = "") -> str | None:
        """Hold the first clip that this person may look at and nobody holds; after a clip, if one is named.

        Many may ask at once: what another was quicker to take, or has finished meanwhile, is gone past.
        """
        held, begun = self.journal.claims(), self.journal.versions()
        items = self.find(wanted)
        at = next((n for n, item in enumerate(items) if item.clip == after), -1) + 1
        for item in (*items[at:], *items[:at]):
            clip = item.clip
            if clip == after or held.get(clip, reviewer) != reviewer:
                continue
            if not self.wants(clip, reviewer, admin, begun.get(clip, 0)):
                continue
            try:
                self.journal.claim(clip, reviewer, seconds)
            except ConflictError:
                continue
            if self.wants(clip, reviewer, admin, self.journal.versions().get(clip, 0)):
                return clip
            self.journal.release(clip, reviewer)
        return None

    @cached_property
    def choices(self) -> dict[str, list[str]]:
        """What there is to filter by."""
        return {
            "verb": _most(verb for item in self.items.values() for verb in item.verbs),
            "cls": _most(cls for item in self.items.values() for cls in item.classes),
            "source": _most(item.source for item in self.items.values()),
        }


def _neighbours(items: Iterable[Item]) -> dict[str, list[str]]:
    """By chunk its clips as the queue comes to them. items: doubt first."""
    found: dict[str, list[str]] = {}
    for item in items:
        found.setdefault(item.chunk, []).append(item.clip)
    return found


def _by_doubt(item: Item) -> tuple[float, str]:
    return -item.doubt, item.clip


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
