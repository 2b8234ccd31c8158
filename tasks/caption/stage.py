"""Stage `caption`: four questions turn a caption into rated triplets and descriptors (paper App. A.1).

1 count · 2 triplets · 3 one rating per triplet · 4 descriptors of the IDs that are left. Then the roles are located in
the caption (`tasks/caption/spans.py`). A clip without a caption gets one from the captioner first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from pydantic import Field

from schemas import Captioned, Dropped, Instance, Interaction, Rating, Reason, Row
from schemas.settings import Settings
from schemas.text import caption_problem
from tasks.caption.remarks import in_words, remarks
from tasks.caption.spans import Roles, locate
from tasks.caption.turns import count_question, describe_question, score_question, triplets_question, verb_of
from tasks.engines.asking import Asker
from tasks.engines.base import BadReply, Captioner, Frames, LanguageModel
from tasks.engines.prompts import Prompts, load_prompts
from tasks.engines.replies import Descriptor, ScoreReply, Triplet
from tasks.errors import Reject, gravest
from tasks.outcome import Case, settle_async
from tasks.spec import StageSpec

T = TypeVar("T")


class CaptionSettings(Settings):
    """The four turns and the filter after them."""

    not_in_rows = frozenset({"concurrency", "captioner_clips"})

    prompts: str = Field(default="v1", description="folder of tasks/engines/prompts with the four instructions")
    max_asks: int = Field(default=3, ge=1, le=10, description="answers to one question before bad_reply")
    count_slack: int = Field(default=1, ge=0, description="how far turn 2 may differ from the count of turn 1")
    min_contact: int = Field(default=3, ge=1, le=5, description="contactness from which an interaction stays")
    min_dynamism: int = Field(default=2, ge=1, le=5, description="dynamism from which an interaction stays")
    min_confidence: float = Field(default=0.5, ge=0, le=1, description="ratings below this confidence drop the triplet")
    max_caption_chars: int = Field(default=8000, ge=1, le=100_000, description="longer captions are rejected")
    captioner_frames: int = Field(default=8, ge=1, le=256, description="evenly spaced frames shown to the captioner")
    captioner_clips: int = Field(
        default=8,
        ge=1,
        le=4096,
        description="clips of one batch at the captioner at once; each holds its frames",
    )
    concurrency: int = Field(default=16, ge=1, le=4096, description="requests of one batch in flight at once")


def prompts_version(folder: str = "v1") -> str:
    """Name and digest of a prompt folder, for the stage's fingerprint."""
    return load_prompts(folder).version


def caption(
    cases: Sequence[Case],
    llm: LanguageModel,
    captioner: Captioner | None,
    settings: CaptionSettings,
    frames_of: Callable[[Case], Frames] | None = None,
) -> Iterator[Row[Captioned]]:
    """One row a clip, in the order of `cases`. All clips of the batch wait for the model side by side in one loop.

    Rejects: NO_CAPTION, BAD_CAPTION, NO_INTERACTION (turn 1), BAD_REPLY (any turn), FILTERED (nothing passed the
    thresholds, or what passed cannot be found in the caption). Where clips met an InfrastructureError, the rows of all
    others come first and then the error, so that finished work is kept. Call it from a thread that runs no event loop.
    """
    prompts = load_prompts(settings.prompts)
    stage = _Stage(llm, captioner, settings, prompts, frames_of)
    ends = asyncio.run(stage.run(cases))
    yield from (end for end in ends if isinstance(end, Row))
    if errors := [end for end in ends if isinstance(end, BaseException)]:
        raise gravest(errors)


class _Stage:
    def __init__(
        self, llm: LanguageModel, captioner: Captioner | None, settings: CaptionSettings, prompts: Prompts,
        frames_of: Callable[[Case], Frames] | None,
    ) -> None:  # fmt: skip
        self.llm, self.captioner, self.settings = llm, captioner, settings
        self.prompts, self.frames_of = prompts, frames_of

    async def run(self, cases: Sequence[Case]) -> list[Row[Captioned] | BaseException]:
        self.gate = asyncio.Semaphore(self.settings.concurrency)
        self.shown, self.decoding = asyncio.Semaphore(self.settings.captioner_clips), asyncio.Lock()
        ends = (settle_async(c.clip.clip_id, lambda c=c: self.one(c)) for c in cases)  # type: ignore[misc]
        return await asyncio.gather(*ends, return_exceptions=True)

    async def one(self, case: Case) -> Captioned:
        text, by = await self.text_of(case)
        texts = self.prompts.texts
        asker = Asker(self.llm, self.gate, case.clip.clip_id, self.settings.max_asks)
        count = (await asker.put(count_question(texts["count"], text))).count
        if not count:
            raise Reject(Reason.NO_INTERACTION, "the caption states no act of a living subject on a target")
        listed = await asker.put(triplets_question(texts["triplets"], text, count, self.settings.count_slack))
        phrases = {e.id: e.phrase for e in listed.entities}
        scores = await _all_or_first_error(
            [asker.put(score_question(texts["score"], text, t, listed.entities)) for t in listed.triplets]
        )
        kept, dropped = self.filter(listed.triplets, scores)
        used = {i for t, _ in kept for i in (t.src1, t.tgt1)}
        entities = [e for e in listed.entities if e.id in used]
        described = await asker.put(describe_question(texts["describe"], text, [t for t, _ in kept], entities))
        by_id = {d.id: d for d in described.instances}
        interactions, unlocated = self.locate(text, kept, phrases, by_id)
        return self.record(text, by, count, interactions, by_id, list(phrases), [*dropped, *unlocated])

    async def text_of(self, case: Case) -> tuple[str, str]:
        """The caption and who wrote it."""
        text = case.clip.source.caption
        by = "sidecar"
        if text is None or not text.strip():
            if self.captioner is None or self.frames_of is None:
                raise Reject(Reason.NO_CAPTION, "the video brings no caption and no captioner is set")
            text, by = await self.describe(case, self.captioner, self.frames_of), self.captioner.identity
        elif len(text) > self.settings.max_caption_chars:  # what else it may not be, `select` has seen to
            raise Reject(Reason.BAD_CAPTION, f"{len(text)} characters, the limit is {self.settings.max_caption_chars}")
        return text, by

    async def describe(self, case: Case, captioner: Captioner, frames_of: Callable[[Case], Frames]) -> str:
        """A caption of the clip by the captioner, which asks again by itself. BAD_REPLY where it gave none.

        A clip is decoded only when its turn to be shown has come, one at a time, and only the frames shown are kept.
        """

        def look() -> tuple[Frames, list[float]]:
            frames = frames_of(case)
            count = min(self.settings.captioner_frames, len(frames))
            at = np.linspace(0, len(frames) - 1, count).round().astype(int)
            # A copy, not a view: the clip itself can go.
            return np.take(frames, at, axis=0), (at / case.clip.fps).tolist()

        async with self.shown:
            async with self.decoding:
                picked, times = await asyncio.to_thread(look)
            async with self.gate:
                try:
                    text = (await captioner.describe(picked, times)).strip()
                except BadReply as bad:
                    raise Reject(Reason.BAD_REPLY, f"captioner: {bad}") from None
        problem = caption_problem(text, self.settings.max_caption_chars) if text else "an empty caption"
        if problem:
            raise Reject(Reason.BAD_REPLY, f"captioner: {problem}")
        return text

    def filter(
        self, triplets: Sequence[Triplet], scores: Sequence[ScoreReply]
    ) -> tuple[list[tuple[Triplet, Rating]], list[Dropped]]:
        """Triplets that pass the thresholds, and why the others did not. FILTERED where none does."""
        s = self.settings
        kept, dropped = [], []
        for triplet, score in zip(triplets, scores, strict=True):
            numbers = in_words(score)
            if score.confidence < s.min_confidence:
                dropped.append(Dropped(what=triplet.interaction, reason="low_confidence", detail=numbers))
            elif score.Contact < s.min_contact:
                dropped.append(Dropped(what=triplet.interaction, reason="low_contact", detail=numbers))
            elif score.Dynamism < s.min_dynamism:
                dropped.append(Dropped(what=triplet.interaction, reason="low_dynamism", detail=numbers))
            else:
                kept.append((triplet, Rating(
                    contact=score.Contact, dynamism=score.Dynamism, explanation=score.Explanation,
                    confidence=score.confidence,
                )))  # fmt: skip
        if not kept:
            raise Reject(Reason.FILTERED, "; ".join(f"{d.what}: {d.detail}" for d in dropped))
        return kept, dropped

    def locate(
        self, text: str, kept: Sequence[tuple[Triplet, Rating]], phrases: dict[str, str], by_id: dict[str, Descriptor]
    ) -> tuple[list[Interaction], list[Dropped]]:
        """Interactions with their spans; those with a role that does not stand in the caption are dropped."""
        interactions, dropped = [], []
        names = {k: (d.cls, d.noun, phrases[k]) for k, d in by_id.items()}
        for triplet, rating in kept:
            verb = verb_of(triplet.interaction)
            others = [names[k] for k in by_id if k not in (triplet.src1, triplet.tgt1)]
            roles = Roles(verb, names[triplet.src1], names[triplet.tgt1], triplet.source_sentence, tuple(others))
            found = locate(text, roles)
            if isinstance(found, str):
                dropped.append(Dropped(what=triplet.interaction, reason="no_span", detail=found))
                continue
            spans, sentence = found
            interactions.append(Interaction(
                subject=triplet.src1, verb=verb, object=triplet.tgt1, text=triplet.interaction, type=triplet.type,
                source_sentence=text[sentence.start : sentence.end], spans=spans, rating=rating,
            ))  # fmt: skip
        if not interactions:
            raise Reject(Reason.FILTERED, "no_span: " + "; ".join(f"{d.what}: {d.detail}" for d in dropped))
        return interactions, dropped

    def record(
        self, text: str, by: str, count: int, interactions: list[Interaction], by_id: dict[str, Descriptor],
        ids: Sequence[str], dropped: list[Dropped],
    ) -> Captioned:  # fmt: skip
        """The record. IDs of the second turn that no interaction is left for are dropped."""
        used = {i for act in interactions for i in (act.subject, act.object)}
        why = "no retained interaction names it"
        gone = [Dropped(what=i, reason="no_interaction", detail=why) for i in ids if i not in used]
        instances = tuple(
            Instance(id=i, cls=by_id[i].cls, noun=by_id[i].noun, app=by_id[i].app, spatial=by_id[i].spatial)
            for i in ids if i in used
        )  # fmt: skip
        return Captioned(
            caption=text, caption_by=by, counted=count, instances=instances, interactions=tuple(interactions),
            dropped=(*dropped, *gone), prompts=self.prompts.version, model=self.llm.identity,
        )  # fmt: skip


async def _all_or_first_error(work: Sequence[Awaitable[T]]) -> list[T]:
    """All results. Where some failed, a rejection wins (it is final), then `gravest`: never the first by timing."""
    ends = await asyncio.gather(*work, return_exceptions=True)
    errors = [e for e in ends if isinstance(e, BaseException)]
    if errors:
        raise next((e for e in errors if isinstance(e, Reject)), gravest(errors))
    return [e for e in ends if not isinstance(e, BaseException)]


def _lines(captioned: Captioned) -> list[str]:
    text = [f"{i.id}: {i.noun} ({i.cls}). {i.app} {i.spatial}" for i in captioned.instances]
    for act in captioned.interactions:
        r = act.rating
        text.append(f"{act.text}  contact {r.contact}, dynamism {r.dynamism}, confidence {r.confidence:.2f}")
    return text


SPEC = StageSpec(
    name="caption",
    settings=CaptionSettings,
    record=Captioned,
    engines=("language", "captioner"),
    also=lambda settings: [prompts_version(settings.prompts)],
    batch=lambda work, keys: caption(
        work.cases(keys), work.engine("language"), work.engine("captioner"), work.settings, work.frames
    ),
    rejects={
        Reason.NO_CAPTION: "the video brings no caption and no captioner is set",
        Reason.BAD_CAPTION: "the caption is too long",
        Reason.NO_INTERACTION: "the caption holds no act of a living subject on a distinct target",
        Reason.FILTERED: "every interaction is below the thresholds, or cannot be found in the text",
        Reason.BAD_REPLY: "the model's replies failed validation every time",
    },
    remarks=remarks,
    lines=_lines,
)
