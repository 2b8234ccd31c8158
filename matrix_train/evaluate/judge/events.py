"""Events from tracks alone: whether an act of certain ratings happens between two, when, and who does it to whom.

What an act is called cannot be seen in tracks. What its ratings demand can: contact, and a change of place or pose. Of
all pairs that could be meant (those asked for, and others of their classes) the one is taken that shows it most: those
who have the contact that the act demands before those who have not; then by how much both stir while they touch, or,
where no firm contact is demanded, while both are seen, the nearer the more. Who stands by does not stir, or stirs while
others do it. Where two pairs show it about alike, it is `Undecided` which of them is meant (`CLEARLY`); who of the two
is the agent is a matter of `casting.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from matrix_train.evaluate.judge.by_truth import LIVELY, must_touch
from matrix_train.evaluate.judge.casting import PURSUIT, Undecided, leads, passes
from matrix_train.evaluate.protocol.prompt import KeyInteraction
from matrix_train.evaluate.seen.tracks import Tracks
from schemas.base import InstanceId

CLEARLY = 1.25
"""How many times the evidence of any other pair that of one must be, to say that it is these two and not others."""

AT_REST = 0.02
"""What a frame of contact counts where nobody needs to stir for the act, as to hold: little motion there is noise."""


@dataclass(frozen=True)
class Act:
    """What happens between two."""

    subject: InstanceId
    object: InstanceId
    contact: int
    dynamism: int
    start_frame: int
    end_frame: int
    """Exclusive."""


def act_seen(tracks: Tracks, asked: KeyInteraction) -> Act | None:
    """The act of the ratings asked for; None where no pair shows one. ValueError where the ratings are not known,
    Undecided where it is not clear which two it is, or who of them acts."""
    if asked.contact is None or asked.dynamism is None:
        raise ValueError(
            f"{asked.text} has no contact and dynamism in its prompt: rate it from 1 to 5 (paper App. A.1)"
        )
    shown = [act for one, other in _pairs(tracks, asked) if (act := _between(tracks, asked, one, other)) is not None]
    if not shown:
        return None
    pair = _most(tracks, shown)
    frames = range(tracks.film.frames)
    touching = tracks.touching(pair.subject, pair.object, frames) if must_touch(pair) else []
    if leads(tracks, pair.subject, pair.object, pair.contact, touching):
        return pair
    return replace(pair, subject=pair.object, object=pair.subject)


def _most(tracks: Tracks, shown: Sequence[Act]) -> Act:
    """The act of the pair that shows it most; that of the pair asked for, the first, where none shows any. Undecided
    where two show it about alike."""
    if len(shown) == 1:
        return shown[0]
    evidence = [(_touch(tracks, act), _stirring(tracks, act)) for act in shown]
    (touch, most), best = max(zip(evidence, shown, strict=True), key=lambda found: found[0])  # of equals the first
    for (also_touch, stirring), act in zip(evidence, shown, strict=True):
        if act is not best and also_touch == touch and stirring and most < CLEARLY * stirring:
            pairs = " or ".join(f"{a.subject} and {a.object}" for a in (best, act))
            raise Undecided(f"{pairs} show what is asked for about alike")
    return best


def _pairs(tracks: Tracks, asked: KeyInteraction) -> list[tuple[InstanceId, InstanceId]]:
    classes = {i.id: i.cls for i in tracks.film.instances}

    def alike(key: InstanceId) -> list[InstanceId]:
        return [key, *(other for other, cls in classes.items() if cls == classes[key] and other != key)]

    pairs = product(alike(asked.subject), alike(asked.object))
    return list({frozenset(pair): pair for pair in reversed([*pairs]) if len(set(pair)) == 2}.values())[::-1]


def _touch(tracks: Tracks, act: Act) -> bool:
    """Whether the pair has the contact that the act demands, by a third one where it need not be firm: whoever has it
    comes before whoever has not."""
    if act.contact <= PURSUIT:
        return True
    touching = bool(tracks.touching(act.subject, act.object, range(tracks.film.frames)))
    return touching if must_touch(act) else touching or passes(tracks, act.subject, act.object) != 0


def _stirring(tracks: Tracks, act: Act) -> float:
    """How much both of the pair change from frame to frame while they touch, or are seen together."""
    one, other, frames, firm = act.subject, act.object, range(tracks.film.frames), must_touch(act)
    floor = 0.0 if act.dynamism >= LIVELY else AT_REST
    return sum(
        (floor + min(tracks.stir(key, frame) for key in (one, other)))
        * (1.0 if firm else 1.0 - tracks.gap(one, other, frame))
        for frame in (tracks.touching(one, other, frames) if firm else tracks.together(one, other, frames))
    )


def _between(tracks: Tracks, asked: KeyInteraction, one: InstanceId, other: InstanceId) -> Act | None:
    """What happens between these two, `one` for the agent as yet; None where they only are there."""
    assert asked.contact is not None
    assert asked.dynamism is not None
    frames = range(tracks.film.frames)
    act = Act(one, other, asked.contact, asked.dynamism, 0, len(frames))
    firm = must_touch(act)
    near = tracks.touching(one, other, frames) if firm else tracks.together(one, other, frames)
    moved = [key for key in (one, other) if tracks.changed(key, frames) is not None]
    if not moved and (asked.dynamism >= LIVELY or not near):
        return None
    if not near and not tracks.together(one, other, frames):
        return None
    start, end = (near[0], near[-1] + 1) if firm and near else (0, len(frames))
    return Act(one, other, asked.contact, asked.dynamism, start, end)
