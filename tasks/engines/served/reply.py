"""From a reply's text to a checked model. Structured output is no guarantee, so nothing is believed that does not fit.

What stands around the answer is taken off: a byte order mark, the thoughts of a reasoning model, channel tags, a
Markdown fence, prose. What is left must be one JSON object, or the same one again. Nothing inside it is repaired here:
a key given twice, NaN, an object cut short are bad replies, and no part of a broken object is taken for the answer.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.text import one_line
from tasks.engines.base import BadReply
from tasks.engines.served.wire import Choice

Reply = TypeVar("Reply", bound=BaseModel)

_THOUGHTS = r"(?:think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad|begin_of_thought|start_thinking)"
_ENDED = r"(?:think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad|end_of_thought|end_thinking)"
_OPENS = re.compile(rf"<\|?(?:\w+:)?{_THOUGHTS}\|?>|\[think\]|◁think▷", re.IGNORECASE)
_CLOSES = re.compile(rf"</(?:\w+:)?{_THOUGHTS}>|<\|/?{_ENDED}\|>|\[/think\]|◁/think▷", re.IGNORECASE)
_SPACE = re.compile(r"\s*")
_BRACES = re.compile(r"[{}]")
_BEGUN = re.compile(r'\{\s*"')
_FINAL = re.compile(r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
"""Where the answer begins after the other channels of a reply in harmony's form."""


def content_of(choice: Choice) -> str:
    """The text of a choice that is a whole answer. BadReply for a refusal, a cut-off or an empty one.

    Some servers file all of a reply under reasoning where the model closed no thought: taken where nothing else is.
    """
    message = choice.message
    said = message.content or ""
    if message.refusal:
        raise BadReply(f"the model refused: {one_line(message.refusal, 300)}", said)
    if choice.finish_reason == "content_filter":
        raise BadReply("the reply was withheld by the server's content filter", said)
    if choice.finish_reason == "length":
        raise BadReply("the reply was cut off at the token limit (max_tokens): shorter, or allow more", said)
    if said.strip():
        return said
    for thought in (message.reasoning_content, message.reasoning):
        if isinstance(thought, str) and "{" in thought:
            return thought
    raise BadReply("the reply is empty")


def parse(said: str, schema: type[Reply]) -> Reply:
    """The reply as `schema`, whose own strictness decides. BadReply says what does not fit."""
    try:
        text = answer_in(said)
        return schema.model_validate_json(text)
    except ValidationError as error:
        raise BadReply(_told(error), said) from None
    except _NoAnswerError as error:
        raise BadReply(one_line(error, 1000), said) from None


class _NoAnswerError(Exception):
    """There is no one JSON object in a text."""


def answer_in(said: str) -> str:
    """The text of the one JSON object that a reply consists of, or holds. Raises _NoAnswerError."""
    text = said.strip().lstrip("\ufeff").lstrip()
    try:
        # What is JSON as a whole is not looked into: tags and fences within its strings are data.
        _decode(text, 0)
    except _BrokenError as broken:
        if broken.final:
            raise _NoAnswerError(str(broken)) from None
    else:
        return text
    found: dict[str, str] = {}
    for value, span in _objects(_without_thoughts(text)):
        found.setdefault(json.dumps(value, sort_keys=True), span)
    if len(found) > 1:
        raise _NoAnswerError(f"the reply holds {len(found)} different JSON objects, one is wanted")
    return next(iter(found.values()))


def _without_thoughts(text: str) -> str:
    """What follows the thoughts, or the tag of the final channel."""
    if finals := list(_FINAL.finditer(text)):
        return text[finals[-1].end() :]
    at = 0
    while True:
        opened = _OPENS.match(text, at)
        # Some chat templates open the thoughts themselves, so that the reply holds only their end.
        closed = _CLOSES.search(text, at) if opened or not text.startswith(("{", "```"), at) else None
        if closed is None:
            if opened:
                raise _NoAnswerError("the reply is thoughts without an end")
            return text[at:]
        at = _SPACE.match(text, closed.end()).end()  # type: ignore[union-attr]


def _objects(text: str) -> Iterator[tuple[Any, str]]:
    """The JSON objects that stand side by side in a text, each with its own words. Raises _NoAnswerError for none.

    Braces of prose ("{1, 2}") are passed over with all that is in them; an object that was begun must hold.
    """
    at, some = 0, False
    problem = "the reply holds no JSON object"
    while (start := text.find("{", at)) >= 0:
        try:
            value, at = _decode(text, start, whole=False)
        except _BrokenError as broken:
            problem = str(broken) if problem.endswith("object") else problem
            at = -1 if broken.final or _BEGUN.match(text, start) else _behind_braces(text, start)
            if at < 0:
                raise _NoAnswerError(problem) from None
            continue
        some = True
        yield value, text[start:at]
    if not some:
        raise _NoAnswerError(problem)


def _behind_braces(text: str, start: int) -> int:
    """The place behind the brace that closes the one at `start`; -1 where none does."""
    depth = 0
    for found in _BRACES.finditer(text, start):
        depth += 1 if found.group() == "{" else -1
        if depth == 0:
            return found.end()
    return -1


class _BrokenError(Exception):
    """Text that is no JSON. `final`: it is an answer, and a bad one, whatever else stands around."""

    def __init__(self, problem: str, final: bool = False) -> None:
        super().__init__(problem)
        self.final = final


def _decode(text: str, start: int, whole: bool = True) -> tuple[Any, int]:
    """The JSON value at `start` and the place behind it, which must be the text's end where it is `whole`."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise _BrokenError("not JSON: recursion limit exceeded", final=True) from None
    except json.JSONDecodeError as error:
        raise _BrokenError(f"not JSON: {error.msg} at character {error.pos - start}") from None
    except ValueError as error:  # a number of thousands of digits
        raise _BrokenError(f"not JSON: {error}", final=True) from None
    if whole and end < len(text):
        raise _BrokenError("not JSON: there is more behind it")
    return value, end


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _BrokenError(f"the key {twice!r} is given twice", final=True)
    return made


def _no_constant(name: str) -> Any:
    raise _BrokenError(f"not JSON: {name} is no number", final=True)


_DECODER = json.JSONDecoder(object_pairs_hook=_no_doubles, parse_constant=_no_constant)


def _told(error: ValidationError) -> str:
    """The first few problems, each with its place, without the text they were found in."""
    told = []
    for problem in error.errors(include_url=False, include_input=False)[:3]:
        where = ".".join(str(part) for part in problem["loc"])
        told.append(f"{where}: {problem['msg']}" if where else problem["msg"])
    more = error.error_count() - len(told)
    return one_line("; ".join(told) + (f" (and {more} more)" if more > 0 else ""), 1000)
