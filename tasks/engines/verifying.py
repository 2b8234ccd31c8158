"""Which of the wanted instances does a box show, if any? A vision-language model looks (paper App. A.2).

It gets the frame, the padded crop, the class and the descriptors of the candidates. Beyond the paper, the frame carries
the box drawn in, and the document its place in numbers: "on the left" cannot be judged from a crop alone.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from schemas import Box, Instance, Repairs
from schemas.base import Share
from tasks.engines.answering import Answering
from tasks.engines.asking import Question, ask_until_it_holds, build_messages, make_nonce
from tasks.engines.base import Message, VerdictReply, VerifyRequest
from tasks.engines.options import VerifyingOptions
from tasks.engines.prompts import load_prompt
from tasks.engines.replies import Part, Prose, SaidId, TurnReply, bare_id, held_to
from tasks.engines.served.images import Picture, bounded, close_up, marked
from tasks.store.folder import Folder


class AssignedReply(TurnReply):
    """What the model answers."""

    assigned_id: SaidId | None
    confidence: Share
    rationale: Prose = Field(max_length=2000, json_schema_extra={"maxLength": 240})


class BoxReply(Part):
    """The verdict on one of several boxes."""

    box: int = Field(ge=1, le=16, description="the box's number")
    assigned_id: SaidId | None
    confidence: Share
    rationale: Prose = Field(max_length=2000, json_schema_extra={"maxLength": 160})


class BoxesReply(TurnReply):
    """What the model answers when it is shown several boxes."""

    boxes: list[BoxReply] = Field(max_length=16)


class Verifying(Answering[Any]):
    """A `Verifier` that is told nothing but a prompt file."""

    def __init__(self, options: VerifyingOptions, home: Folder) -> None:
        self.settings, self.prompt = options, load_prompt(options.prompts, "verifier")
        super().__init__(options, home, self.prompt)

    async def verify(self, request: VerifyRequest) -> VerdictReply:
        """The verdict, about one of the candidates or none. BadReply after `max_asks` answers that do not hold."""
        question = self._question(request)
        digest = digest_of_one(request)

        def nonce_of(attempt: int) -> str:
            return make_nonce(digest, "verify", attempt)

        reply = await ask_until_it_holds(self, question, self.settings.max_asks, nonce_of)
        return VerdictReply(
            assigned_id=reply.assigned_id, confidence=reply.confidence, rationale=reply.rationale.strip()
        )

    @property
    def several(self) -> int:
        return self.settings.several

    async def verify_several(self, requests: Sequence[VerifyRequest]) -> list[VerdictReply]:
        """The verdicts, each about one of its box's candidates or none. BadReply after `max_asks` answers."""
        question = self._question_of_several(requests)
        digest = digest_of_several(requests)

        def nonce_of(attempt: int) -> str:
            return make_nonce(digest, "verify several", attempt)

        reply = await ask_until_it_holds(self, question, self.settings.max_asks, nonce_of)
        return [
            VerdictReply(assigned_id=b.assigned_id, confidence=b.confidence, rationale=b.rationale.strip())
            for b in reply.boxes
        ]

    def _question_of_several(self, requests: Sequence[VerifyRequest]) -> Question[BoxesReply]:
        known = [[candidate.id for candidate in request.candidates] for request in requests]

        def check(reply: BoxesReply) -> tuple[BoxesReply, Repairs] | None:
            if [b.box for b in reply.boxes] != list(range(1, len(requests) + 1)):
                raise ValueError(f"the boxes are numbered 1 to {len(requests)}: give a verdict on each, in their order")
            bare = [b.assigned_id and bare_id(b.assigned_id) for b in reply.boxes]
            for number, (said, wanted) in enumerate(zip(bare, known, strict=True)):
                if reply.boxes[number].assigned_id is not None and said not in wanted:
                    raise ValueError(
                        f"box {number + 1}: assigned_id {reply.boxes[number].assigned_id} is not among its candidates: "
                        f"{', '.join(wanted)}, or null"
                    )
            mended = [b.model_copy(update={"assigned_id": own}) for b, own in zip(reply.boxes, bare, strict=True)]
            brackets = sum(b.assigned_id != own for b, own in zip(reply.boxes, bare, strict=True))
            return reply.model_copy(update={"boxes": mended}), Repairs(brackets=brackets)

        boxes = [{"number": k, **self._document(request)} for k, request in enumerate(requests, 1)]
        every = list(dict.fromkeys(i for wanted in known for i in wanted))
        form = held_to(BoxesReply, {
            "boxes": {"minItems": len(requests), "maxItems": len(requests)},
            "boxes.box": {"enum": list(range(1, len(requests) + 1))},
            "boxes.assigned_id": {"enum": every},
        })  # fmt: skip
        images = tuple(image for request in requests for image in self._images(request))
        prompt = load_prompt(self.settings.prompts, "verifier_several")
        return Question("verify several", prompt, {"boxes": boxes}, form, check, images)

    def _document(self, request: VerifyRequest) -> dict[str, Any]:
        height, width = request.frame.shape[:2]
        return {
            "class": request.noun,
            "box": _place(request.box, width, height),
            "candidates": [
                {"id": c.id, "noun": c.noun, "appearance": c.app, "place": c.spatial} for c in request.candidates
            ],
        }

    def _question(self, request: VerifyRequest) -> Question[AssignedReply]:
        known = [candidate.id for candidate in request.candidates]

        def check(reply: AssignedReply) -> tuple[AssignedReply, Repairs] | None:
            if (said := reply.assigned_id) is None:
                return None
            if (bare := bare_id(said)) not in known:
                raise ValueError(f"assigned_id {said} is not among the candidates: {', '.join(known)}, or null")
            return reply.model_copy(update={"assigned_id": bare}), Repairs(brackets=int(bare != said))

        form = held_to(AssignedReply, {"assigned_id": {"enum": known}})
        return Question("verify", self.prompt, self._document(request), form, check, self._images(request))

    def _images(self, request: VerifyRequest) -> tuple[Picture, Picture]:
        frame = marked(request.frame, request.box) if self.settings.mark_box else request.frame
        return bounded(frame, self.settings.frame_side), close_up(request.crop, self.settings.crop_side)

    def _probe(self) -> tuple[Sequence[Message], type[BaseModel]]:
        frame = np.full((96, 128, 3), 128, np.uint8)
        frame[30:60, 40:80] = (220, 30, 30)
        box = Box(x0=40, y0=30, x1=80, y1=60)
        ball = Instance(id="id1", cls="ball", noun="red ball", app="It is red.", spatial="It is in the middle.")
        q = self._question(VerifyRequest(frame, frame[28:62, 37:83], box, "ball", (ball,)))
        return build_messages(q.prompt, q.document, "0123456789abcdef", images=q.images), q.schema


def _place(box: Box, width: int, height: int) -> dict[str, float]:
    """The box in shares of the frame's width and height."""
    return {
        "left": round(box.x0 / width, 3), "top": round(box.y0 / height, 3),
        "right": round(box.x1 / width, 3), "bottom": round(box.y1 / height, 3),
    }  # fmt: skip


def digest_of_one(request: VerifyRequest) -> str:
    """Over all that is asked: what makes the nonce the same in every run and another for every question."""
    told = [request.noun, request.box.model_dump(), [c.model_dump() for c in request.candidates]]
    parts = hashlib.sha256(json.dumps([told, request.frame.shape, request.crop.shape]).encode())
    parts.update(request.frame.tobytes())
    parts.update(request.crop.tobytes())
    return parts.hexdigest()


def digest_of_several(requests: Sequence[VerifyRequest]) -> str:
    """The same of several."""
    return hashlib.sha256("".join(map(digest_of_one, requests)).encode()).hexdigest()
