"""What goes over the wire: the body of a request, and the few fields of an answer that count."""

import base64
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Count
from tasks.engines.base import Message
from tasks.engines.served.images import jpeg
from tasks.engines.served.options import ServedOptions

_NOT_SENT = ("title", "default", "minLength", "maxLength")
"""Not every server knows them. All of it is checked on return."""

LONGEST_SENT = 512
"""Strings that may be longer are sent without a bound: grammars grow with it, and some servers refuse large ones."""


@lru_cache(maxsize=2048)
def strict_schema(model: type[BaseModel], bounded: bool = True) -> dict[str, Any]:
    """JSON schema of a reply as strict structured output takes it: no `$ref`, nothing optional, no further keys.

    What the model's `held` says for one question is put in. `bounded`: lengths of short strings go along, as patterns,
    which more servers know than `maxLength`. ValueError where the model is not of the kind: a field with a default, an
    object open to other keys.
    """
    whole = model.model_json_schema()
    plain = _resolved(whole, whole.get("$defs", {}))
    for path, words in getattr(model, "held", {}).items():
        _at(plain, path).update(words)
    made: dict[str, Any] = _strict(plain, bounded)
    return made


def _resolved(node: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its definitions in their places."""
    if isinstance(node, list):
        return [_resolved(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        named = definitions[node["$ref"].rsplit("/", 1)[-1]]
        node = {**named, **{k: v for k, v in node.items() if k != "$ref"}}
    return {k: _resolved(v, definitions) for k, v in node.items() if k != "$defs"}


def _at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema of the field at "list.field"; of its first form where it may also be null."""
    for name in path.split("."):
        schema = schema.get("items", schema)["properties"][name]
    found: dict[str, Any] = schema["anyOf"][0] if "anyOf" in schema else schema
    return found


def _strict(node: Any, bounded: bool) -> Any:
    if isinstance(node, list):
        return [_strict(item, bounded) for item in node]
    if not isinstance(node, dict):
        return node
    made = {k: _strict(v, bounded) for k, v in node.items() if k not in (*_NOT_SENT, "properties")}
    if node.get("type") == "object":
        properties = node.get("properties", {})
        if node.get("additionalProperties") is not False or set(node.get("required", ())) != set(properties):
            raise ValueError(f"{node.get('title')}: a reply may have no optional and no unknown fields")
        # Keys here are names of fields, not words of the schema language: one may be called "title".
        made["properties"] = {name: _strict(field, bounded) for name, field in properties.items()}
        made.pop("description", None)  # the class's docstring is for us
    if "enum" in node:
        made.pop("pattern", None)
    elif bounded and node.get("maxLength", LONGEST_SENT + 1) <= LONGEST_SENT and "pattern" not in node:
        # Without quotes and what JSON escapes: some servers match a pattern against the text as it is written.
        made["pattern"] = rf'^[^"\\\n\r\t]{{{node.get("minLength", 0)},{node["maxLength"]}}}$'
    return made


def request_body(
    options: ServedOptions, model: str, messages: Sequence[Message], schema: type[BaseModel], quality: int = 90
) -> bytes:
    """The JSON body of one chat request: the same bytes for the same question, in every run.

    quality: of images as JPEG.
    """
    body: dict[str, Any] = {"model": model, "messages": [_message(m, quality) for m in messages]}
    body |= {n: v for n in ("temperature", "seed", "max_tokens") if (v := getattr(options, n)) is not None}
    if options.structured == "json_schema":
        named = {"name": schema.__name__, "strict": True, "schema": strict_schema(schema, options.bound_strings)}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    elif options.structured == "json_object":
        body["response_format"] = {"type": "json_object"}
    return json.dumps(body | options.extra_body, separators=(",", ":")).encode()


def _message(message: Message, quality: int) -> dict[str, Any]:
    if not message.images:
        return {"role": message.role, "content": message.text}
    urls = (b"data:image/jpeg;base64," + base64.b64encode(jpeg(image, quality)) for image in message.images)
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url.decode()}} for url in urls]
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class AnswerMessage(_Part):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    """Thoughts, under one name or the other; text, but nobody's standard says so."""


class Choice(_Part):
    message: AnswerMessage
    finish_reason: str | None = None


class Tokens(_Part):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0


class Completion(_Part):
    """A chat completion, as far as we read it. What does not fit is the server's fault, not the model's."""

    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: Tokens | None = None

    @property
    def tokens(self) -> Tokens:
        return self.usage or Tokens()
