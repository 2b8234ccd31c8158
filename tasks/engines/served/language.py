"""The language model of the four caption turns, behind a server. `tasks/caption/turns.py` holds the questions."""

from collections.abc import Sequence

from pydantic import BaseModel

from tasks.engines.asking import build_messages
from tasks.engines.base import Message
from tasks.engines.prompts import load_prompts
from tasks.engines.replies import CountReply
from tasks.engines.served.options import LanguageOptions
from tasks.engines.served.served import Served


class ServedLanguage(Served):
    """A `LanguageModel` behind an OpenAI-compatible server."""

    Options = LanguageOptions

    def _probe(self) -> tuple[Sequence[Message], type[BaseModel]]:
        document = {"caption": "A man in a red shirt kicks a blue ball."}
        return build_messages(load_prompts("v1").texts["count"], document, "0123456789abcdef"), CountReply
