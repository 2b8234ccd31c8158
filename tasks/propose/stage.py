"""Stage `propose`: boxes that may be the caption's things (paper §3.2, App. A.2).

T frames are sampled uniformly; the detector gets the class nouns only, never the appearance (it latches onto partial
words), and proposes up to J boxes a frame and noun. Which ID a box shows, if any, is the next stage's question.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from pydantic import Field

from schemas import Box, Candidate, Captioned, Instance, Proposed, Reason, Row
from schemas.settings import Settings
from tasks.engines.base import Detector, Frames
from tasks.errors import Reject
from tasks.outcome import Case, settle_each
from tasks.spec import StageSpec


class ProposeSettings(Settings):
    """How many frames the detector sees, and how many boxes it may name."""

    frames: int = Field(default=8, ge=1, le=64, description="T, frames sampled uniformly from the clip")
    boxes: int = Field(default=5, ge=1, le=50, description="J, most boxes a frame and class noun")


def propose(
    cases: Sequence[Case], frames_of: Callable[[Case], Frames], detector: Detector, settings: ProposeSettings
) -> Iterator[Row[Proposed]]:
    """One row a clip, in the order of `cases`, which must carry `Captioned`.

    frames_of: all frames of a clip, RGB uint8 [N, H, W, 3]. Rejects with UNGROUNDED where no interaction has a
    candidate for both its ends. A detector that answers what nobody asked is a failed attempt.
    """

    def one(case: Case) -> Proposed:
        captioned = case.of(Captioned)
        frames = frames_of(case)
        chosen = sample_frames(len(frames), settings.frames)
        nouns = tuple(dict.fromkeys(i.cls for i in named_instances(captioned)))
        pools = _pools(detector, frames[list(chosen)], chosen, nouns, settings.boxes)
        classes = {i.id: i.cls for i in captioned.instances}
        if not any(pools[classes[act.subject]] and pools[classes[act.object]] for act in captioned.interactions):
            missing = ", ".join(noun for noun in nouns if not pools[noun])
            raise Reject(Reason.UNGROUNDED, f"no interaction with both ends: the detector found no {missing}")
        candidates = tuple(candidate for noun in nouns for candidate in pools[noun])
        return Proposed(frames=chosen, candidates=candidates, detector=detector.identity)

    yield from settle_each(cases, one)


def named_instances(captioned: Captioned) -> tuple[Instance, ...]:
    """The instances that an interaction names, id2 before id10."""
    named = {end for act in captioned.interactions for end in (act.subject, act.object)}
    return tuple(sorted((i for i in captioned.instances if i.id in named), key=lambda i: int(i.id[2:])))


def sample_frames(total: int, count: int) -> tuple[int, ...]:
    """`count` frame indices spread evenly over 0 … total-1, both ends among them; all of them where there are fewer."""
    if total <= count:
        return tuple(range(total))
    if count == 1:
        return (total // 2,)
    return tuple((2 * i * (total - 1) + count - 1) // (2 * (count - 1)) for i in range(count))


def _pools(
    detector: Detector, sampled: Frames, chosen: tuple[int, ...], nouns: Sequence[str], limit: int
) -> dict[str, list[Candidate]]:
    """Per noun at most `limit` candidates a frame, confidence falling; ties by frame, then box."""
    height, width = sampled.shape[1:3]
    pools: dict[str, list[Candidate]] = {noun: [] for noun in nouns}
    for proposal in detector.propose(sampled, nouns, limit):
        if proposal.noun not in pools or not 0 <= proposal.frame < len(chosen):
            raise ValueError(
                f"the detector answered for {proposal.noun!r} in frame {proposal.frame}, which nobody asked"
            )
        x0, x1 = np.clip((proposal.box.x0, proposal.box.x1), 0, width).tolist()
        y0, y1 = np.clip((proposal.box.y0, proposal.box.y1), 0, height).tolist()
        if x1 - x0 >= 1 and y1 - y0 >= 1:
            box, score = Box(x0=x0, y0=y0, x1=x1, y1=y1), float(np.clip(proposal.score, 0, 1))
            pools[proposal.noun].append(
                Candidate(noun=proposal.noun, frame=chosen[proposal.frame], box=box, score=score)
            )
    for noun, pool in pools.items():
        pool.sort(key=_rank)
        taken: dict[int, int] = dict.fromkeys(chosen, 0)
        kept = []
        for candidate in pool:
            taken[candidate.frame] += 1
            if taken[candidate.frame] <= limit:
                kept.append(candidate)
        pools[noun] = kept
    return pools


def _rank(candidate: Candidate) -> tuple[float, ...]:
    box = candidate.box
    return (-candidate.score, candidate.frame, box.y0, box.x0, box.y1, box.x1)


SPEC = StageSpec(
    name="propose",
    settings=ProposeSettings,
    record=Proposed,
    needs=(Captioned,),
    engines=("detector",),
    batch=lambda work, keys: propose(work.cases(keys), work.frames, work.engine("detector"), work.settings),
    rejects={Reason.UNGROUNDED: "the detector found no box for one end of every interaction"},
)
