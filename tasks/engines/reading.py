"""The language model of the four caption turns. `tasks/caption/turns.py` holds the questions."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from tasks.engines.answering import Answering
from tasks.engines.asking import build_messages
from tasks.engines.base import Message
from tasks.engines.prompts import load_prompts
from tasks.engines.replies import CountReply


class Reading(Answering[Any]):
    """A `LanguageModel` of the caption stage."""

    def _probe(self) -> tuple[Sequence[Message], type[BaseModel]]:
        document = {"caption": "A man in a red shirt kicks a blue ball."}
        return build_messages(load_prompts("v1").texts["count"], document, "0123456789abcdef"), CountReply
