"""One question to an engine, from plain code."""

import asyncio
from typing import Any

from tasks.engines.asking import build_messages
from tasks.engines.base import Message
from tasks.engines.prompts import load_prompts
from tasks.engines.replies import CountReply
from tasks.engines.served.served import Served
from tests.tasks.caption.captioning import CAPTION


class _Ask:
    schema = CountReply

    def messages(self, nonce: str = "n" * 16, caption: str = CAPTION) -> tuple[Message, Message]:
        return build_messages(load_prompts("v1").texts["count"], {"caption": caption}, nonce)

    def __call__(self, engine: Served, nonce: str = "n" * 16, caption: str = CAPTION) -> Any:
        """The engine's reply to turn 1, in a loop of its own as in a batch."""
        return asyncio.run(engine.ask(self.messages(nonce, caption), CountReply))


ask = _Ask()
