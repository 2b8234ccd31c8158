"""From a reply's text to a checked model: what is taken, what is asked again, and that nothing is repaired."""

import json

import pytest
from pydantic import BaseModel, ConfigDict

from tasks.engines.base import BadReply
from tasks.engines.metering import metered
from tasks.engines.replies import CountReply, DescribeReply, ScoreReply, TripletsReply
from tasks.engines.served.captioner import CaptionReply
from tasks.engines.served.reply import parse, unwrapped
from tasks.engines.served.verifier import AssignedReply
from tasks.engines.served.wire import strict_schema
from tests.tasks.engines.served.asking import ask
from tests.tasks.engines.served.conftest import in_turn
from tests.tasks.engines.served.fault_server import said

REPLIES = (CountReply, TripletsReply, ScoreReply, DescribeReply, AssignedReply, CaptionReply)
PLAIN = '{"nonce": "nnnnnnnnnnnnnnnn", "count": 2}'

TAKEN = {
    "plain": PLAIN,
    "white space": f"\n\n  {PLAIN}\n",
    "fence": f"```json\n{PLAIN}\n```",
    "bare fence": f"```\n{PLAIN}```",
    "thoughts": f"<think>\nLet me count: {{1, 2}}.\n</think>\n\n{PLAIN}",
    "no thoughts": f"<think></think>{PLAIN}",
    "thoughts that the template opened": f"I count two.\n</think>\n{PLAIN}",
    "thoughts and a fence": f"<think>two</think>\n```json\n{PLAIN}\n```\n",
}


@pytest.mark.parametrize("content", TAKEN.values(), ids=TAKEN)
def test_what_is_taken(content, serve, engine):
    assert ask(engine(serve(in_turn(said(content))))).count == 2


def test_a_tag_within_the_json_is_data():
    text = json.dumps({"nonce": "n", "caption": "A sign says </think>{} and ```."})
    assert parse(text, CaptionReply).caption == "A sign says </think>{} and ```."


REFUSED = {
    "prose": ("Sure! There are two.", "JSON"),
    "prose around": (f"Here you are: {PLAIN}", "JSON"),
    "prose after the fence": (f"```json\n{PLAIN}\n```\nHope that helps!", "JSON"),
    "two objects": (f"{PLAIN}{PLAIN}", "trailing"),
    "a list around": (f"[{PLAIN}]", "object"),
    "truncated": (PLAIN[:-1], "EOF"),
    "truncated fence": (f"```json\n{PLAIN}", "JSON"),
    "python": ("{'nonce': 'n', 'count': 2}", "JSON"),
    "thoughts without an end": ("<think>one, two, three", "thoughts without an end"),
    "empty": ("", "empty"),
    "blank": (" \n\t", "empty"),
    "null": ("null", "object"),
    "a number as text": ('{"nonce": "n", "count": "2"}', "count"),
    "a share": ('{"nonce": "n", "count": 1.5}', "count"),
    "too many": ('{"nonce": "n", "count": 99}', "count"),
    "negative": ('{"nonce": "n", "count": -1}', "count"),
    "not a number": ('{"nonce": "n", "count": NaN}', "count"),
    "true": ('{"nonce": "n", "count": true}', "count"),
    "one key too many": ('{"nonce": "n", "count": 2, "admin": true}', "admin"),
    "no nonce": ('{"count": 2}', "nonce"),
    "deep": ("[" * 100_000, "recursion"),
    "control": ('{"nonce": "\x00", "count": 2}', "JSON"),
    "half a surrogate": ('{"nonce": "\\ud800", "count": 2}', "hex escape"),
}


@pytest.mark.parametrize(("content", "word"), REFUSED.values(), ids=REFUSED)
def test_what_is_a_bad_reply(content, word, serve, engine):
    server = serve(in_turn(said(content)))
    with metered() as meter, pytest.raises(BadReply) as caught:
        ask(engine(server))
    assert word.lower() in str(caught.value).lower() and "\n" not in str(caught.value)
    assert len(caught.value.raw) <= 4000
    assert len(server.asked) == 1  # whether to ask again is for the stage to say
    assert meter.usage and (meter.usage.prompt_tokens, meter.usage.completion_tokens) == (100, 20)


ENDS = {
    "cut off": (said(PLAIN[:20], "length"), "max_tokens"),
    "cut off but whole": (said(PLAIN, "length"), "max_tokens"),
    "refusal": (said(None, refusal="I cannot\nhelp with that."), "refused: I cannot help"),
    "refusal with content": (said(PLAIN, refusal="No."), "refused"),
    "filtered": (said(PLAIN, "content_filter"), "content filter"),
    "nothing": (said(None), "empty"),
}


@pytest.mark.parametrize(("told", "words"), ENDS.values(), ids=ENDS)
def test_an_answer_that_is_none(told, words, serve, engine):
    with pytest.raises(BadReply, match=words):
        ask(engine(serve(in_turn(told))))


@pytest.mark.parametrize("reply", REPLIES)
def test_the_schema_sent_is_what_strict_servers_take(reply):
    text = json.dumps(strict_schema(reply))
    for word in ('"$ref"', '"$defs"', '"default"', '"title"', '"minLength"', '"maxLength"'):
        assert word not in text

    def walk(node):
        if isinstance(node, list):
            [walk(n) for n in node]
        elif isinstance(node, dict):
            if node.get("type") == "object":
                assert node["additionalProperties"] is False
                assert sorted(node["required"]) == sorted(node["properties"])
            [walk(n) for n in node.values()]

    walk(strict_schema(reply))
    # Held to it, no model can run on for ever in a nonce, and a good one copies it with ease.
    assert strict_schema(reply)["properties"]["nonce"]["pattern"] == "^[0-9a-f]{16}$"


def test_a_reply_model_that_strict_servers_would_refuse_is_our_mistake():
    class Open(BaseModel):
        nonce: str

    class Optional(BaseModel):
        model_config = ConfigDict(extra="forbid")
        nonce: str = ""

    class Nested(BaseModel):
        model_config = ConfigDict(extra="forbid")
        title: Optional  # a field may be called like a word of the schema language

    for model in (Open, Optional, Nested):
        with pytest.raises(ValueError, match="optional"):
            strict_schema(model)


def test_a_field_may_be_named_like_a_word_of_the_schema_language():
    class Named(BaseModel):
        model_config = ConfigDict(extra="forbid")
        title: str
        default: int

    assert set(strict_schema(Named)["properties"]) == {"title", "default"}


@pytest.mark.parametrize(("structured", "form"), [("json_object", {"type": "json_object"}), ("none", None)])
def test_servers_without_schemas_are_validated_all_the_same(structured, form, serve, engine):
    server = serve(in_turn(said('{"nonce": "n", "count": "2"}'), said(PLAIN)))
    llm = engine(server, structured=structured)
    with pytest.raises(BadReply, match="count"):
        ask(llm)
    assert ask(llm).count == 2
    assert server.asked[0].body.get("response_format") == form


def test_more_fields_of_the_request_go_along(serve, engine):
    more = {"chat_template_kwargs": {"enable_thinking": False}, "max_completion_tokens": 100}
    server = serve()
    ask(engine(server, extra_body=more, temperature=None, seed=None, max_tokens=None))
    sent = server.asked[0].body
    assert {k: sent[k] for k in more} == more
    assert not {"temperature", "seed", "max_tokens"} & set(sent)


def test_nothing_but_wrappings_is_taken_off():
    assert unwrapped("```json\n{}\n```") == "{}"
    assert unwrapped("```python\n{}\n```") == "```python\n{}\n```"
    assert unwrapped("{}</think>{}") == "{}</think>{}"
