"""The judge that knows: answers and frame checks from true tracks and events, through the same scores.

What was asked for is a truth record, and what is seen is another: of a true video the same, with a planted fault
(`checked/faults.py`) or of a generated video one whose tracks and events differ. How much an act needs is read off the
ratings of its triplet (paper App. A.1), not off its verb:

contact 5, or 4 with dynamism ≥ 4   those who take part touch (a hand-over, 4 and 3, reaches its taker by the thing)
of these, with dynamism ≥ 4         what is acted on changes place or pose (push, lift, kick)
else, with dynamism ≥ 3             one of the two does (carry, put down, hug, follow, circle)
else                                they stay together to the end (hold, pet)
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from matrix_train.evaluate.protocol.prompt import Asked, KeyInteraction, Prompt, chosen_frames
from matrix_train.evaluate.protocol.scores import Answer, FrameCheck, Judged
from matrix_train.evaluate.seen.tracks import Tracks
from schemas.base import InstanceId
from schemas.truth import TrueTriplet, VideoTruth

JUDGE = "truth 1"
"""Goes into the files as the model. Raised with every change of a rule."""

FIRM, STRONG, LIVELY = 5, 4, 3

_AROUND_S = 0.5
"""Seconds around an act that belong to its effect: a ball rolls on after the kick and flies before it is caught."""

_LEAD_S = 1.0
"""Seconds before an act in which its actors get ready."""


class Wanted(Protocol):
    """Who is to do it to whom."""

    @property
    def subject(self) -> InstanceId: ...
    @property
    def object(self) -> InstanceId: ...


class Event(Protocol):
    """What happens: a triplet of a truth record, or what tracks show (`events.py`). Frames as in the record."""

    @property
    def subject(self) -> InstanceId: ...
    @property
    def object(self) -> InstanceId: ...
    @property
    def contact(self) -> int: ...
    @property
    def dynamism(self) -> int: ...
    @property
    def start_frame(self) -> int: ...
    @property
    def end_frame(self) -> int: ...


def prompt_of(truth: VideoTruth) -> Prompt:
    """The truth of a rendered video as a prompt: the instances that its triplets name, and the triplets."""
    named = {key for t in truth.triplets for key in (t.subject, t.object)}
    return Prompt(
        video=truth.video,
        prompt=truth.caption or "",
        instances=tuple(Asked(id=i.id, cls=i.cls, appearance=i.phrase) for i in truth.instances if i.id in named),
        interactions=tuple(
            KeyInteraction(subject=t.subject, verb=t.verb, object=t.object, contact=t.contact, dynamism=t.dynamism)
            for t in truth.triplets
        ),
    )


def judge(asked: VideoTruth, seen: VideoTruth) -> Judged:
    """Judge what is seen against what was asked for. The frames of both are the same."""
    tracks = Tracks(seen)

    def acting(key: InstanceId) -> int | None:
        return next((_middle(act) for act in seen.triplets if act.subject == key), None)

    answers = (ten(tracks, _act_for(seen.triplets, wanted), wanted, acting) for wanted in asked.triplets)
    return Judged(tuple(answers), checks(tracks, prompt_of(asked)))


def checks(tracks: Tracks, prompt: Prompt) -> tuple[FrameCheck, ...]:
    """Every frame that is looked at against frame 0. Boxes are those of the instances in the prompt's interactions."""
    roster = {key for act in prompt.interactions for key in (act.subject, act.object)}
    classes = {i.cls for i in prompt.instances if i.id in roster}
    strangers = [i.id for i in tracks.film.instances if i.id not in roster and i.cls in classes]
    return tuple(_check(tracks, roster, strangers, frame) for frame in chosen_frames(tracks.film.frames)[1:])


def _check(tracks: Tracks, roster: set[InstanceId], strangers: Sequence[InstanceId], frame: int) -> FrameCheck:
    """Boxes are those of the roster; a stranger is of one of its classes and has none.

    The authors call missing whatever has no box. Here whoever walks out of the picture or behind something is not
    missing, and whoever walks in has not emerged: true videos show that.
    """
    extra = [key for key in strangers if tracks.sprang_up(key, frame)]
    gone = [key for key in sorted(roster) if tracks.seen(key, 0) and tracks.vanished(key, frame)]
    return FrameCheck(
        frame_idx=frame,
        emergence=bool(extra),
        disappearance=bool(gone),
        emergence_reason=", ".join(extra),
        disappearance_reason=", ".join(gone),
    )


def ten(
    tracks: Tracks, act: Event | None, asked: Wanted, acting: Callable[[InstanceId], int | None]
) -> tuple[Answer, ...]:
    """The ten answers. act: what happens in place of what was asked. acting: a frame in which an instance does
    something, whatever it is."""
    if act is None:  # nothing of the kind happens: it is "not yet done", and no to all else
        found: dict[int, int | None] = {1: 0}
    else:
        found = _what(tracks, act) | _who(act, asked, acting(asked.subject))
    return tuple(
        Answer(question_id=q, answer="no" if found.get(q) is None else "yes", frame_index=found.get(q))
        for q in range(1, 11)
    )


def _act_for(acts: Sequence[TrueTriplet], asked: TrueTriplet) -> TrueTriplet | None:
    """The act of this verb that is the one asked for, or comes nearest to it by those who take part."""
    ends = {asked.subject, asked.object}

    def shared(act: TrueTriplet) -> tuple[int, int]:
        right = (act.subject == asked.subject) + (act.object == asked.object)
        return right, len(ends & {act.subject, act.object})

    return max((act for act in acts if act.verb == asked.verb), key=shared, default=None)


def must_touch(act: Event) -> bool:
    """Whether an act of these ratings is none without contact."""
    return act.contact >= FIRM or (act.contact == FIRM - 1 and act.dynamism >= STRONG)


def _what(tracks: Tracks, act: Event) -> dict[int, int | None]:
    """Q1–Q6, of those who really take part: question → decisive frame, None for a no."""
    s, o, fps, count = act.subject, act.object, tracks.film.fps, tracks.film.frames
    during = range(act.start_frame, min(act.end_frame, count))
    lead = range(max(0, during.start - round(_LEAD_S * fps)), during.stop)
    around = range(max(0, during.start - round(_AROUND_S * fps)), min(count, during.stop + round(_AROUND_S * fps)))
    firm = must_touch(act)
    near = tracks.touching(s, o, around) if firm else tracks.together(s, o, during)
    moved_s, moved_o = tracks.changed(s, around), tracks.changed(o, around)
    begins = _first(tracks.changed(s, lead), tracks.changed(o, lead))
    if firm and act.dynamism >= STRONG:
        effect = moved_o
        outcome = _still(tracks, o, around)
    elif act.dynamism >= LIVELY:
        effect = _first(moved_s, moved_o)
        outcome = _first(_still(tracks, s, around), _still(tracks, o, around))
    else:
        late = [frame for frame in near if frame >= during.start + 2 * len(during) // 3]
        effect = near[len(near) // 2] if len(near) > 2 else None
        outcome = late[-1] if late else None
    return {
        1: 0,
        2: begins,
        3: near[0] if near else None,
        4: near[1] if len(near) > 1 else None,
        5: effect,
        6: outcome,
    }


def _still(tracks: Tracks, key: InstanceId, frames: Sequence[int]) -> int | None:
    """A frame of the last third in which an instance is elsewhere than in the first frame in which it is seen."""
    seen = [frame for frame in frames if tracks.seen(key, frame)]
    return tracks.changed(key, seen[:1] + seen[2 * len(seen) // 3 :])


def _first(one: int | None, other: int | None) -> int | None:
    return other if one is None else one


def _who(act: Event, asked: Wanted, acting: int | None) -> dict[int, int | None]:
    """Q7–Q10: whether those who take part are those who were asked for."""
    agent, recipient = act.subject == asked.subject, act.object == asked.object
    return {
        7: acting,
        8: _middle(act) if agent else None,
        9: _middle(act) if agent and recipient else None,
        10: _middle(act) if recipient else None,
    }


def _middle(act: Event) -> int:
    return (act.start_frame + act.end_frame) // 2
