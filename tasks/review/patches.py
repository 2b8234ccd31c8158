"""What a person does to a clip, as a row of small patches; what is undone stays on record. Pure, no I/O.

A clip that is looked at twice has two such rows, one a reviewer, so that neither sees the other's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter

from schemas import Interaction, Record, Rle
from schemas.base import Count, InstanceId

Decision = Literal["accept", "fix", "drop"]

Why = Literal[
    "", "drift", "swap", "duplicate", "hallucination", "gap", "jitter", "wrong_thing", "wrong_triplet", "other"
]
"""Why a track is dropped or has to be mended; the paper names the first six (App. A.2)."""

REASONS: tuple[str, ...] = get_args(Why)[1:]


class Decide(Record):
    """Accept, Fix or Drop of one track. None takes the word back."""

    op: Literal["decide"] = "decide"
    id: InstanceId
    decision: Decision | None
    reason: Why = ""


class Paint(Record):
    """Masks of one ID from `frame` on, one entry a frame. By hand it is one frame; the tracker gives many."""

    op: Literal["paint"] = "paint"
    id: InstanceId
    frame: Count
    masks: tuple[Annotated[Rle, Field(max_length=200_000)] | None, ...] = Field(min_length=1, max_length=2000)
    by_hand: bool = True


class Swap(Record):
    """From `frame` on each of two IDs has the masks of the other."""

    op: Literal["swap"] = "swap"
    id: InstanceId
    other: InstanceId
    frame: Count


class Give(Record):
    """From `frame` on, the masks of `id` are `to`'s, beside those it has; with None they are nobody's.

    From frame 0 on this merges two tracks, later it splits one.
    """

    op: Literal["give"] = "give"
    id: InstanceId
    to: InstanceId | None
    frame: Count


class Act(Record):
    """Another triplet in the place of the one with this text; None takes it out."""

    op: Literal["act"] = "act"
    text: str = Field(max_length=200)
    act: Interaction | None


class Finish(Record):
    """The reviewer is done with the clip. Whatever comes after it opens the clip again."""

    op: Literal["finish"] = "finish"


class Undo(Record):
    op: Literal["undo"] = "undo"


class Redo(Record):
    op: Literal["redo"] = "redo"


Edit = Paint | Swap | Give | Act
Op = Annotated[Decide | Paint | Swap | Give | Act | Finish | Undo | Redo, Field(discriminator="op")]
OPS: TypeAdapter[Op] = TypeAdapter(Op)


@dataclass(frozen=True)
class Patch:
    """An entry of the record: who did what, when, and what was so before."""

    clip: str
    reviewer: str
    seq: int
    at: float
    """Seconds since 1970."""
    op: Op
    tracks: Mapping[str, str]
    """Digest by ID of the tracks that the clip had then, before any edit."""
    was: str = ""


@dataclass(frozen=True)
class State:
    """Where one reviewer's patches lead."""

    seq: int = 0
    decisions: Mapping[str, Decide] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    finished: float | None = None
    """When, in seconds since 1970."""
    can_undo: bool = False
    can_redo: bool = False
    lapsed: tuple[str, ...] = ()
    """IDs that decisions were made of which hold no more."""

    def mended(self, track: str) -> bool:
        """Whether an edit has changed that track's masks."""
        return any(track in touched(edit) for edit in self.edits)


def touched(edit: Edit) -> set[str]:
    """IDs whose masks an edit changes."""
    match edit:
        case Paint():
            return {edit.id}
        case Swap():
            return {edit.id, edit.other}
        case Give():
            return {edit.id, *([edit.to] if edit.to else [])}
        case _:
            return set()


def fold(patches: Sequence[Patch], tracks: Mapping[str, str] | None = None) -> State:
    """The state after one reviewer's patches, which are in order.

    tracks: digests of the tracks as they are now; what was said of others lapses, and a clip of which something
    lapsed is not finished, unless every track of now has its word.
    """
    done: list[Patch] = []
    undone: list[Patch] = []
    for patch in patches:
        if isinstance(patch.op, Undo):
            undone.extend(done[-1:])
            del done[-1:]
        elif isinstance(patch.op, Redo):
            done.extend(undone[-1:])
            del undone[-1:]
        else:
            done.append(patch)
            undone.clear()
    decisions: dict[str, Decide] = {}
    edits: list[Edit] = []
    lapsed = set[str]()
    for patch in done:
        gone = {} if tracks is None else {i for i in _named(patch.op) if patch.tracks.get(i) != tracks.get(i)}
        lapsed.update(gone)
        if gone:
            continue
        if isinstance(patch.op, Decide):
            if patch.op.decision is None:
                decisions.pop(patch.op.id, None)
            else:
                decisions[patch.op.id] = patch.op
        elif isinstance(patch.op, Edit):
            edits.append(patch.op)
    ended = done[-1].at if done and isinstance(done[-1].op, Finish) else None
    if tracks is not None and not tracks.keys() <= decisions.keys():
        ended = None
    return State(
        seq=patches[-1].seq if patches else 0, decisions=decisions, edits=tuple(edits), finished=ended,
        can_undo=bool(done), can_redo=bool(undone), lapsed=tuple(sorted(lapsed)),
    )  # fmt: skip


def _named(op: Op) -> Iterable[str]:
    """IDs whose tracks an operation was made on."""
    match op:
        case Decide():
            return {op.id}
        case Act():
            return {op.act.subject, op.act.object} if op.act else set()
        case Paint() | Swap() | Give():
            return touched(op)
        case _:
            return set()
