"""From a reply's text to a checked model. Structured output is no guarantee, so nothing is believed that does not fit.

Two wrappings are taken off, both only from around the whole: the thoughts of a reasoning model and a Markdown fence.
Nothing inside is repaired.
"""

import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from schemas.text import one_line
from tasks.engines.base import BadReply
from tasks.engines.served.wire import Choice

Reply = TypeVar("Reply", bound=BaseModel)

_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\r?\n(.*?)\r?\n?```", re.DOTALL)


def content_of(choice: Choice) -> str:
    """The text of a choice that is a whole answer. BadReply for a refusal, a cut-off or an empty one."""
    said = choice.message.content or ""
    if choice.message.refusal:
        raise BadReply(f"the model refused: {one_line(choice.message.refusal, 300)}", said)
    if choice.finish_reason == "content_filter":
        raise BadReply("the reply was withheld by the server's content filter", said)
    if choice.finish_reason == "length":
        raise BadReply("the reply was cut off at the token limit (max_tokens): shorter, or allow more", said)
    if not said.strip():
        raise BadReply("the reply is empty")
    return said


def parse(said: str, schema: type[Reply]) -> Reply:
    """The reply as `schema`, whose own strictness decides. BadReply says what does not fit."""
    text = unwrapped(said)
    try:
        return schema.model_validate_json(text)
    except ValidationError as error:
        raise BadReply(_told(error), said) from None


def unwrapped(said: str) -> str:
    """The text without thoughts before it and without a fence around it."""
    text = said.strip()
    if not text.startswith(("{", "```")):
        # Some chat templates open the thoughts themselves, so that the reply holds only their end.
        before, end, after = text.partition("</think>")
        if end:
            text = after.strip()
        elif before.startswith("<think>"):
            raise BadReply("the reply is thoughts without an end", said)
    fenced = _FENCE.fullmatch(text)
    return fenced.group(1) if fenced else text


def _told(error: ValidationError) -> str:
    """The first few problems, each with its place, without the text they were found in."""
    told = []
    for problem in error.errors(include_url=False, include_input=False)[:3]:
        where = ".".join(str(part) for part in problem["loc"])
        told.append(f"{where}: {problem['msg']}" if where else problem["msg"])
    more = error.error_count() - len(told)
    return one_line("; ".join(told) + (f" (and {more} more)" if more > 0 else ""), 1000)
