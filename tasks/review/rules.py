"""Who has to look at a clip, and what their words come to (paper App. A.2). Pure.

A track is accepted, dropped, or marked Fix; once it is mended, Fix ends as Accept. A seeded share of the accepted clips
goes to a second person; where the two differ a third decides by majority, or an admin alone. Two differ where their
words would not make the same clip: other tracks kept, other masks of a kept track, or other triplets.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas import Interaction, TrackNumbers
from tasks.curate.numbers import quality
from tasks.review.patches import State
from tasks.review.tracks import Masks, acts_after, apply, digest

Need = Literal["first", "second", "third", "nobody"]
"""Who has to look at a clip next."""

Point = tuple[str, str, str]
"""Something that a word makes of a clip: of which ID or triplet, which side of it, and what."""


@dataclass(frozen=True)
class Word:
    """One reviewer's finished say on a clip."""

    reviewer: str
    admin: bool
    state: State
    leaves: frozenset[Point]
    """What would come of the clip if it were the only word: equal where two people agree (`leaves`)."""


@dataclass(frozen=True)
class Outcome:
    """What the words on a clip come to. `word` is whose edits count; both are empty while somebody is needed."""

    need: Need
    ends: Mapping[str, bool]
    """By ID, whether the track is kept."""
    word: Word | None = None


@dataclass(frozen=True)
class Progress:
    """How far people are with the clips of one chunk, of which a share has to be decided on (`review.wait`)."""

    wanted: float
    arrived: int
    """Clips that `curate` let through."""
    decided: frozenset[str]
    looked_at: frozenset[str]
    """Of which somebody has said something, the decided ones too."""

    @property
    def reached(self) -> bool:
        return len(self.decided) >= self.wanted * self.arrived

    def lets_through(self, clip: str) -> bool:
        """Whether a clip need not wait for people: it is decided on, or enough are and nobody has begun with it."""
        return clip in self.decided or (self.reached and clip not in self.looked_at)


def unfinished(state: State, ids: Iterable[str]) -> str:
    """Why a reviewer cannot be done with a clip yet; empty where he can."""
    for name in ids:
        said = state.decisions.get(name)
        if said is None:
            return f"{name} has no decision yet"
        if said.decision == "fix" and not state.mended(name):
            return f"{name} is marked Fix and is not mended yet: mend it, or drop it"
        if said.decision == "drop" and not said.reason:
            return f"say why {name} is dropped"
    return ""


def ends(state: State) -> dict[str, bool]:
    """Which tracks end as Accept: those accepted, and those mended. One that curate dropped is not asked about."""
    return {name: said.decision != "drop" for name, said in state.decisions.items()}


def leaves(state: State, masks: Masks, acts: Sequence[Interaction], size: tuple[int, int]) -> frozenset[Point]:
    """What a finished word alone would make of a clip with these tracks and triplets; size: (height, width).

    A kept track is three points, from coarse to fine: that it is kept, whether it is mended, and its masks. So of
    three people two who mended by hand, whose strokes are never the same, are nearer to each other than to one who
    left it as it was. A dropped track has three as well, for both ends to weigh the same. Each triplet left is one.
    """
    after = apply(masks, state.edits, size)
    kept = {name for name, end in ends(state).items() if end and any(after.get(name, ()))}
    points = set[Point]()
    for name, track in after.items():
        mended = "mended" if track != masks[name] else "as it was"
        said = ("kept", mended, digest(track)) if name in kept else ("dropped",) * 3
        points |= {(name, side, what) for side, what in zip(("end", "mended", "masks"), said, strict=True)}
    left = still_held(acts_after(acts, state.edits), kept)
    return frozenset(points | {("triplet", act.text, act.model_dump_json()) for act in left})


def wants_second(clip: str, share: float, seed: int) -> bool:
    """Whether an accepted clip goes to a second person; always the same for the same clip and seed."""
    drawn = int.from_bytes(hashlib.sha256(f"second {seed} {clip}".encode()).digest()[:8], "big")
    return drawn < share * 2**64


def resolve(clip: str, words: Sequence[Word], acts: Sequence[Interaction], share: float, seed: int) -> Outcome:
    """What the finished words on a clip, in the order in which they came, amount to. acts: its triplets."""
    if not words:
        return Outcome("first", {})
    first = words[0]
    if len(words) == 1:
        accepted = any(ends(first.state).get(a.subject) and ends(first.state).get(a.object) for a in acts)
        if accepted and wants_second(clip, share, seed):
            return Outcome("second", {})
        return Outcome("nobody", ends(first.state), first)
    if all(word.leaves == first.leaves for word in words):
        return Outcome("nobody", ends(first.state), first)
    if judge := next((word for word in reversed(words) if word.admin), None):
        return Outcome("nobody", ends(judge.state), judge)
    if len(words) == 2:
        return Outcome("third", {})
    voters = words[:3]
    said = [ends(word.state) for word in voters]
    most = {name: Counter(one.get(name, False) for one in said).most_common(1)[0][0] for name in said[0]}
    nearest = min(voters, key=lambda word: sum(len(word.leaves ^ other.leaves) for other in voters))
    return Outcome("nobody", most, nearest)


def still_held(acts: Sequence[Interaction], kept: Iterable[str]) -> list[Interaction]:
    """The triplets whose subject and object both end as Accept."""
    alive = set(kept)
    return [act for act in acts if {act.subject, act.object} <= alive]


def worse_of(pair: tuple[str, str], numbers: Mapping[str, TrackNumbers]) -> str:
    """Of two tracks of one class that cover the same thing, the one that goes: the farther from its anchor."""
    return min(sorted(pair, key=lambda name: -int(name[2:])), key=lambda name: quality(numbers[name]))


def doubt(numbers: Iterable[TrackNumbers], confidences: Iterable[float]) -> float:
    """How much a clip wants looking at, 0 to 1: its weakest track, and its least sure verdict or rating."""
    tracks = (quality(n) * n.least_likeness / (1 + n.leap + n.area_step) for n in numbers)
    return 1 - min(tracks, default=0.0) * min(confidences, default=1.0)
