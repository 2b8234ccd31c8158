"""Dense captions from sampled frames, for videos that bring none: what is asked, whoever answers."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from schemas.text import caption_problem
from tasks.engines.answering import Answering
from tasks.engines.asking import Question, ask_until_it_holds, build_messages, make_nonce
from tasks.engines.base import Frames, Message
from tasks.engines.options import CaptioningOptions
from tasks.engines.prompts import load_prompt
from tasks.engines.replies import Prose, TurnReply
from tasks.engines.served.images import bounded, contact_sheet
from tasks.store.folder import Folder

MAX_CHARS = 20_000


class CaptionReply(TurnReply):
    """What the model saw."""

    caption: Prose = Field(min_length=1, max_length=MAX_CHARS, description="one paragraph of prose")


class Captioning(Answering[Any]):
    """A `Captioner` that is told nothing but a prompt file."""

    def __init__(self, options: CaptioningOptions, home: Folder) -> None:
        self.settings, self.prompt = options, load_prompt(options.prompts, "captioner")
        super().__init__(options, home, self.prompt)

    async def describe(self, frames: Frames, times: Sequence[float] = ()) -> str:
        """A caption of the frames [T, H, W, 3]. BadReply after `max_asks` answers that do not hold.

        times: in seconds, shown on contact sheets; without them the frames are numbered by their places.
        """
        times = times or list(map(float, range(len(frames))))
        told = repr((frames.shape, *times) if self.settings.sheet > 1 else frames.shape)
        digest = hashlib.sha256(told.encode() + frames.tobytes()).hexdigest()

        def nonce_of(attempt: int) -> str:
            return make_nonce(digest, "caption", attempt)

        reply = await ask_until_it_holds(self, self._question(frames, times), self.settings.max_asks, nonce_of)
        return reply.caption.strip()

    def _question(self, frames: Frames, times: Sequence[float] = (0.0, 0.1)) -> Question[CaptionReply]:
        def check(reply: CaptionReply) -> None:
            if not reply.caption.strip():
                raise ValueError("the caption is blank")
            if problem := caption_problem(reply.caption, MAX_CHARS):
                raise ValueError(problem)

        side, sheet = self.settings.frame_side, self.settings.sheet
        if sheet == 1:
            images = tuple(bounded(frame, side) for frame in frames)
            return Question("caption", self.prompt, {"frames": len(images)}, CaptionReply, check, images)
        starts, columns = range(0, len(frames), sheet), math.ceil(math.sqrt(min(sheet, len(frames))))
        images = tuple(contact_sheet(frames[at : at + sheet], times[at : at + sheet], columns, side) for at in starts)
        document = {"frames": len(frames), "sheets": len(images), "seconds": [round(time, 2) for time in times]}
        prompt = load_prompt(self.settings.prompts, "captioner_sheets")
        return Question("caption", prompt, document, CaptionReply, check, images)

    def _probe(self) -> tuple[Sequence[Message], type[BaseModel]]:
        q = self._question(np.full((2, 96, 128, 3), 128, np.uint8))
        return build_messages(q.prompt, q.document, "0123456789abcdef", images=q.images), q.schema
