"""The judge that looks: a vision-language model behind the pipeline's engines (retry, cache, breaker as there).

Two kinds of turn, each one request over all frames: the ten questions of a key interaction, and what emerged or
disappeared. An answer counts only where it is whole: echoed nonce, one answer to each question in their order, decisive
frames that were shown. Anything else is asked again, and in the end `BadReply`: never a no.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field

from matrix_train.evaluate.protocol.prompt import KeyInteraction, Picture, Prompt
from matrix_train.evaluate.protocol.questions import VERSION, questions_of
from matrix_train.evaluate.protocol.scores import QUESTIONS, YES, Answer, FrameCheck, Judged, Said
from schemas import Repairs
from schemas.palette import colour_name
from tasks.engines.asking import Question, ask_until_it_holds, make_nonce
from tasks.engines.base import LanguageModel
from tasks.engines.replies import Part, TurnReply, held_to
from tasks.engines.served.images import bounded

YesNo = Literal["yes", "no"]


class AnswerReply(Part):
    """One answer as the model gives it."""

    question_id: int
    answer: Said
    frame_index: int | None


class AnswersReply(TurnReply):
    """What the model answers to ten questions."""

    answers: list[AnswerReply] = Field(max_length=32)


class FrameReply(Part):
    """A frame held against the first one."""

    frame_index: int
    emergence: YesNo
    disappearance: YesNo


class PersistenceReply(TurnReply):
    """What emerged and disappeared, frame by frame, so that one left out is noticed."""

    frames: list[FrameReply] = Field(max_length=4096)
    emergence_reason: str = Field(max_length=2000)
    disappearance_reason: str = Field(max_length=2000)


class VlmJudge:
    """Asks one model. Answers of another folder of prompts or version of questions are other scores."""

    def __init__(self, model: LanguageModel, prompts: str = VERSION, max_asks: int = 3, side: int = 768) -> None:
        self.model, self.max_asks, self.side = model, max_asks, side
        folder = files("matrix_train.evaluate.judge") / "prompts" / prompts
        self.texts = {turn: (folder / f"{turn}.md").read_text(encoding="utf-8") for turn in ("answers", "persistence")}
        digest = hashlib.sha256("\0".join(self.texts.values()).encode()).hexdigest()[:12]
        self.name = f"vlm {VERSION} {prompts}-{digest} {model.identity}"

    async def judge(self, prompt: Prompt, frames: Sequence[int], pictures: Sequence[Picture]) -> Judged:
        """frames: numbers of the frames shown, the first 0; pictures: RGB uint8 [H, W, 3] with boxes drawn in.

        BadReply after `max_asks` answers that do not hold; InfrastructureError where the model is not to be had.
        """
        images = tuple(bounded(picture, self.side) for picture in pictures)
        return Judged(await self._answers(prompt, frames, images), await self._checks(prompt, frames, images))

    async def answers(
        self, prompt: Prompt, frames: Sequence[int], pictures: Sequence[Picture]
    ) -> tuple[tuple[Answer, ...], ...]:
        """The ten answers about each key interaction, and no more. As for `judge`."""
        return await self._answers(prompt, frames, tuple(bounded(picture, self.side) for picture in pictures))

    async def checks(
        self, prompt: Prompt, frames: Sequence[int], pictures: Sequence[Picture]
    ) -> tuple[FrameCheck, ...]:
        """What emerged and disappeared, and no more. As for `judge`."""
        return await self._checks(prompt, frames, tuple(bounded(picture, self.side) for picture in pictures))

    async def _answers(
        self, prompt: Prompt, frames: Sequence[int], images: tuple[Picture, ...]
    ) -> tuple[tuple[Answer, ...], ...]:
        return tuple([await self._ten(prompt, act, frames, images) for act in prompt.interactions])

    async def _ten(
        self, prompt: Prompt, act: KeyInteraction, frames: Sequence[int], images: tuple[Picture, ...]
    ) -> tuple[Answer, ...]:
        def check(reply: AnswersReply) -> tuple[AnswersReply, Repairs] | None:
            if (told := [a.question_id for a in reply.answers]) != list(QUESTIONS):
                raise ValueError(f"answers are to questions {told}: give one to each of 1 to 10, in that order")
            for a in reply.answers:
                if a.frame_index is not None and a.frame_index not in frames:
                    raise ValueError(f"question {a.question_id}: {a.frame_index} is none of the frames {list(frames)}")
                if a.answer == YES and a.frame_index is None:
                    raise ValueError(f"question {a.question_id}: a yes needs the frame that decides it")
            return None

        document = {
            "prompt": prompt.prompt,
            **_shared(prompt, frames),
            "questions": [{"question_id": q, "question": text} for q, text in enumerate(questions_of(prompt, act), 1)],
        }
        form = held_to(AnswersReply, {
            "answers": {"minItems": 10, "maxItems": 10},
            "answers.question_id": {"enum": list(QUESTIONS)},
        })  # fmt: skip
        reply = await self._ask(Question(act.text, self.texts["answers"], document, form, check, images))
        return tuple(
            Answer(question_id=a.question_id, answer=a.answer, frame_index=a.frame_index) for a in reply.answers
        )

    async def _checks(
        self, prompt: Prompt, frames: Sequence[int], images: tuple[Picture, ...]
    ) -> tuple[FrameCheck, ...]:
        later = list(frames[1:])

        def check(reply: PersistenceReply) -> tuple[PersistenceReply, Repairs] | None:
            if (told := [f.frame_index for f in reply.frames]) != later:
                raise ValueError(f"frames are {told}: give one entry for each of {later}, in that order")
            return None

        form = held_to(PersistenceReply, {"frames": {"minItems": len(later), "maxItems": len(later)}})
        document = _shared(prompt, frames)
        reply = await self._ask(Question("persistence", self.texts["persistence"], document, form, check, images))
        return tuple(
            FrameCheck(
                frame_idx=f.frame_index,
                emergence=f.emergence == YES,
                disappearance=f.disappearance == YES,
                emergence_reason=reply.emergence_reason if f.emergence == YES else "",
                disappearance_reason=reply.disappearance_reason if f.disappearance == YES else "",
            )
            for f in reply.frames
        )

    async def _ask(self, question: Question[Any]) -> Any:
        seen = hashlib.sha256(json.dumps(question.document, sort_keys=True).encode())
        for image in question.images:
            seen.update(image.tobytes())

        def nonce_of(attempt: int) -> str:
            return make_nonce(seen.hexdigest(), question.turn, attempt)

        return await ask_until_it_holds(self.model, question, self.max_asks, nonce_of)


def _shared(prompt: Prompt, frames: Sequence[int]) -> dict[str, Any]:
    boxes = [{"colour": colour_name(i.id), "class": i.cls, "instance": i.appearance} for i in prompt.instances]
    return {"frames": list(frames), "boxes": boxes}
