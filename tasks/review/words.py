"""A curated clip, what people have said of it, and what that comes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from schemas import Captioned, Curated, Dropped, Interaction, Reason, Review, Rle, Track, Tracked, Verified
from schemas.review import Reviewed
from tasks.curate.numbers import measure, overlaps_within_classes, worst_overlap
from tasks.errors import Reject
from tasks.outcome import Case
from tasks.review.journal import Journal, User
from tasks.review.patches import Patch, fold
from tasks.review.rules import Outcome, Word, leaves, resolve, still_held, worse_of
from tasks.review.tracks import acts_after, apply, digest, masks_of


@dataclass(frozen=True)
class Said:
    """All that was said of one clip, by reviewer."""

    patches: Mapping[str, Sequence[Patch]]
    admins: frozenset[str]
    state: str

    @classmethod
    def of(cls, journal: Journal, clip: str, users: Sequence[User]) -> "Said":
        return cls(journal.patches(clip), frozenset(u.name for u in users if u.role == "admin"), journal.state(clip))


NOTHING = Said({}, frozenset(), "")
"""Nobody has looked."""


@dataclass(frozen=True)
class Reviewable:
    """A curated clip as people are shown it. `case` carries Captioned, Verified, Tracked and Curated."""

    case: Case

    @property
    def clip(self) -> str:
        return self.case.clip.clip_id

    @cached_property
    def acts(self) -> list[Interaction]:
        """The triplets that curate kept. ValueError where the stages disagree."""
        captioned, curated = self.case.of(Captioned), self.case.of(Curated)
        found = [act for act in captioned.interactions if act.text in curated.interactions]
        if len(found) < len(set(curated.interactions)) or not {i.id for i in captioned.instances} >= set(curated.ids):
            raise ValueError(f"{self.clip}: curate names an ID or an interaction that caption does not know")
        return [act for act in found if {act.subject, act.object} <= set(curated.ids)]

    @cached_property
    def masks(self) -> dict[str, tuple[Rle | None, ...]]:
        """The curated tracks."""
        return masks_of(self.case.of(Tracked).tracks, self.case.of(Curated).ids)

    @cached_property
    def digests(self) -> dict[str, str]:
        return {name: digest(masks) for name, masks in self.masks.items()}

    @property
    def size(self) -> tuple[int, int]:
        tracked = self.case.of(Tracked)
        return tracked.height, tracked.width

    def words(self, said: Said) -> list[Word]:
        """The finished words that hold for the tracks of now, in the order in which they came."""
        states = {who: fold(patches, self.digests) for who, patches in said.patches.items()}
        done = [
            Word(who, who in said.admins, state, leaves(state, self.masks, self.acts, self.size))
            for who, state in states.items()
            if state.finished is not None
        ]
        return sorted(done, key=lambda word: (word.state.finished, word.reviewer))

    def lapsed(self, said: Said) -> list[str]:
        """Decisions that no longer apply."""
        states = ((who, fold(patches, self.digests)) for who, patches in said.patches.items())
        return [f"{who} on {name}" for who, state in states for name in state.lapsed]

    def outcome(self, said: Said, share: float, seed: int) -> Outcome:
        """What the words come to."""
        return resolve(self.clip, self.words(said), self.acts, share, seed)

    def unreviewed(self, said: Said) -> Reviewed:
        """The clip as curate left it."""
        curated = self.case.of(Curated)
        return Reviewed(
            ids=curated.ids,
            interactions=tuple(self.acts),
            numbers=tuple(n for n in curated.numbers if n.id in curated.ids),
            lapsed=tuple(self.lapsed(said)),
            state=said.state,
        )

    def reviewed(self, said: Said, outcome: Outcome, max_same_class_iou: float) -> Reviewed:
        """The clip as people left it. Reject where no triplet keeps both its ends."""
        assert outcome.word is not None
        curated, word = self.case.of(Curated), outcome.word
        masks = apply(self.masks, word.state.edits, self.size)
        mended = {name for name, track in masks.items() if track != self.masks[name]}
        tracks = {name: Track(id=name, masks=track) for name, track in masks.items()}
        kept = {name for name in masks if outcome.ends.get(name) and any(masks[name])}
        reasons = {name: one.reason for name, one in word.state.decisions.items() if one.reason}
        dropped = {name: Dropped(what=name, reason=reasons.get(name, "dropped")) for name in masks if name not in kept}
        classes = {i.id: i.cls for i in self.case.of(Captioned).instances}
        shared = overlaps_within_classes([tracks[name] for name in masks if name in kept], classes, self.size)
        numbers = {n.id: n for n in curated.numbers}
        for anchor in self.case.of(Verified).anchors:
            if anchor.id in mended & kept:
                numbers[anchor.id] = measure(tracks[anchor.id], anchor, self.size, worst_overlap(shared, anchor.id))
        for pair, iou in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
            if iou > max_same_class_iou and set(pair) <= kept:
                worse = worse_of(pair, numbers)
                kept.remove(worse)
                dropped[worse] = Dropped(what=worse, reason="same_as_other", detail=f"IoU {iou:.2f}, after review")
        acts = still_held(acts_after(self.acts, word.state.edits), kept)
        ids = [name for name in curated.ids if any(name in (act.subject, act.object) for act in acts)]
        if not acts:
            why = ", ".join(f"{name} {drop.reason}" for name, drop in sorted(dropped.items())) or "no triplet is left"
            raise Reject(Reason.DROPPED_IN_REVIEW, f"{word.reviewer}: {why} [{said.state}]")
        dropped |= {name: Dropped(what=name, reason="no_interaction") for name in kept - set(ids)}
        return Reviewed(
            ids=tuple(ids),
            interactions=tuple(acts),
            numbers=tuple(numbers[name] for name in ids),
            tracks=tuple(tracks[name] for name in ids if name in mended),
            review=tuple(
                Review(
                    id=name, decision="fix" if name in mended else "accept", by=word.reviewer,
                    note=reasons.get(name, ""),
                )
                for name in ids
            ),
            dropped=tuple(dropped[name] for name in curated.ids if name in dropped),
            lapsed=tuple(self.lapsed(said)),
            state=said.state,
        )  # fmt: skip
