"""The judge of generated videos: what happens is worked out from tracks (`events.py`), and answered as by the truth.

For a caller with a video and the masks of its first frame:

    tracks = Trackers(profile).tracked(frames, masks)                     # matrix_train/sample/trackers.py
    judged = judge_tracks(prompt, filmed(prompt, tracks, height, width, fps))
    judged.scores.if_score, judged.answers, judged.checks

prompt: whose interactions carry `contact` and `dynamism`. Given tracks may hold more instances than the prompt asks
about, others of its classes first of all: one of them may do it instead, and those that spring up are emergence. Tracks
that begin in frame 0 show neither.
"""

from collections.abc import Mapping

from matrix_train.evaluate.judge.by_truth import checks, ten
from matrix_train.evaluate.judge.casting import went
from matrix_train.evaluate.judge.events import act_seen
from matrix_train.evaluate.protocol.prompt import Prompt
from matrix_train.evaluate.protocol.scores import Judged
from matrix_train.evaluate.seen.tracks import Film, Filmed, Seen, Tracks
from schemas.base import InstanceId
from schemas.tracks import Rle

JUDGE = "tracks 3"
"""Goes into the files as the model, with the tracker. Raised with every change of a rule."""


def judge_tracks(prompt: Prompt, film: Film) -> Judged:
    """Judge what tracks show. ValueError where an interaction has no ratings, or one of its instances no track;
    `casting.Undecided`, which is one too, where tracks do not tell which two act, or who of them."""
    tracks = Tracks(film)
    named = {key for act in prompt.interactions for key in (act.subject, act.object)}
    if lost := named - {i.id for i in film.instances}:
        raise ValueError(f"no track of {min(lost)}, which the prompt names")
    acts = [act_seen(tracks, asked) for asked in prompt.interactions]

    def acting(key: InstanceId) -> int | None:
        """Whoever is the agent of an act; else whoever goes from its place, unless something is done to it."""
        if (mine := next((act for act in acts if act and act.subject == key), None)) is not None:
            return (mine.start_frame + mine.end_frame) // 2
        passive = any(act and act.object == key for act in acts)
        return None if passive else went(tracks, key)

    answers = (ten(tracks, act, asked, acting) for act, asked in zip(acts, prompt.interactions, strict=True))
    return Judged(tuple(answers), checks(tracks, prompt))


def filmed(
    prompt: Prompt, tracks: Mapping[InstanceId, tuple[Rle | None, ...]], height: int, width: int, fps: float
) -> Filmed:
    """The film of tracks, a mask or None per frame each. Classes are the prompt's; who is not in it has none there."""
    classes = {i.id: i.cls for i in prompt.instances}
    count = len(next(iter(tracks.values())))
    seen = tuple(Seen(key, classes.get(key, ""), masks) for key, masks in tracks.items())
    return Filmed(width, height, count, fps, seen)
