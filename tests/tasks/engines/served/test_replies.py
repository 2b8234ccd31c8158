"""From a reply's text to a checked model: what is taken off, what is asked again, and that nothing inside is mended."""

import json

import pytest
from pydantic import BaseModel, ConfigDict

from tasks.engines.base import BadReply
from tasks.engines.captioning import CaptionReply
from tasks.engines.metering import metered
from tasks.engines.replies import CountReply, DescribeReply, ScoreReply, TripletsReply
from tasks.engines.served.reply import parse
from tasks.engines.served.wire import strict_schema
from tasks.engines.verifying import AssignedReply
from tests.tasks.engines.served.asking import ask
from tests.tasks.engines.served.conftest import in_turn
from tests.tasks.engines.served.fault_server import Told, said

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
    "other thoughts": f"<thinking>First {{\"nonce\": 1}}.</thinking>\n{PLAIN}",
    "reasoning and an answer tag": f"<reasoning>two</reasoning><answer>{PLAIN}</answer>",
    "thoughts of Magistral": f"[THINK]{{}}[/THINK]{PLAIN}",
    "thoughts of Kimi": f"◁think▷two◁/think▷{PLAIN}",
    "thoughts of Seed": f"<seed:think>two {{}}</seed:think>{PLAIN}",
    "thoughts of Command": f"<|START_THINKING|>two {{}}<|END_THINKING|>{PLAIN}",
    "thoughts twice": f"<think>one</think><think>{{}}</think>{PLAIN}",
    "thoughts in thoughts": f"<think>a <think>{{}}</think> b {{}}</think>{PLAIN}",
    "a word before the thoughts": f"Well. <think>{{}}</think>{PLAIN}",
    "channels": "<|channel|>analysis<|message|>{\"count\": 1}?<|end|><|start|>assistant<|channel|>final<|message|>"
    + PLAIN + "<|return|>",
    "constrained channel": f"<|channel|>final <|constrain|>json<|message|>{PLAIN}",
    "channels whose tags were cut off": f"analysisThe caption has two.assistantfinal{PLAIN}",
    "one channel": f"<|channel|>analysis<|message|>{PLAIN}",
    "byte order mark": f"\ufeff{PLAIN}",
    "prose around": f"Here you are: {PLAIN}\nHope that helps!",
    "prose after the fence": f"```json\n{PLAIN}\n```\nHope that helps!",
    "prose before the fence": f"Sure!\n\n```json\n{PLAIN}\n```",
    "a fence of another name": f"```jsonc\n{PLAIN}\n```",
    "a fence without an end": f"```json\n{PLAIN}",
    "braces in the prose": f"The set {{one, two}} has two: {PLAIN} {{q.e.d.}}",
    "the same twice": f"{PLAIN}\n{PLAIN.replace(' ', '')}",
}  # fmt: skip


@pytest.mark.parametrize("content", TAKEN.values(), ids=TAKEN)
def test_what_is_taken(content, serve, engine):
    assert ask(engine(serve(in_turn(said(content))))).count == 2


def test_a_tag_within_the_json_is_data():
    text = json.dumps({"nonce": "n", "caption": "A sign says </think>{} and ```."})
    assert parse(text, CaptionReply).caption == "A sign says </think>{} and ```."
    channel = json.dumps({"nonce": "n", "caption": "It says <|channel|>final<|message|>{}"})
    assert parse(channel, CaptionReply).caption == "It says <|channel|>final<|message|>{}"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("content", [None, "", " \n"])
def test_json_that_came_as_reasoning_is_read_where_nothing_else_came(field, content, serve, engine):
    def told(content, thought):
        whole = json.loads(said(content).body)
        whole["choices"][0]["message"][field] = thought
        return Told(json.dumps(whole).encode())

    assert ask(engine(serve(in_turn(told(content, f"Two, so:\n{PLAIN}"))))).count == 2
    other = PLAIN.replace("nonce", "n").replace("2", "3")
    assert (
        ask(engine(serve(in_turn(told(PLAIN, other)))), nonce="k" * 16).count == 2
    )  # what was said counts, not what was thought
    for thought, word in (("I think two.", "empty"), (f"{PLAIN} or {other}", "different"), ({"text": "{}"}, "empty")):
        with pytest.raises(BadReply, match=word):
            ask(engine(serve(in_turn(told(content, thought)))), nonce="m" * 16)


REFUSED = {
    "prose": ("Sure! There are two.", "JSON"),
    "two objects": (f"{PLAIN}{PLAIN.replace('2', '3')}", "2 different JSON objects"),
    "two in fences": (f"```json\n{PLAIN}\n```\nor\n```json\n{PLAIN.replace('2', '3')}\n```", "different"),
    "a list around": (f"[{PLAIN}]", "object"),
    "truncated": (PLAIN[:-1], "not JSON"),
    "truncated fence": (f"```json\n{PLAIN[:-1]}\n```", "not JSON"),
    "truncated around a whole one": (f'{{"a": "}}", "reply": {PLAIN}', "not JSON"),
    "a whole one in a broken one": (f'{{"reply": {PLAIN}, oops}}', "not JSON"),
    "a whole one in Python's": (f"{{'reply': {PLAIN}}}", "JSON"),
    "a draft in thoughts without an end": (f"<thinking>{PLAIN}", "thoughts without an end"),
    "a key twice": ('{"nonce": "nnnnnnnnnnnnnnnn", "count": 1, "count": 2}', "'count' is given twice"),
    "a key twice, alike": ('{"nonce": "nnnnnnnnnnnnnnnn", "count": 2, "count": 2}', "'count' is given twice"),
    "a key twice deeper": (f'Well: {{"a": [{{"b": 1, "b": 2}}], "c": {PLAIN}}}', "'b' is given twice"),
    "infinity": ('{"nonce": "n", "count": -Infinity}', "no number"),
    "beyond every number": ('{"nonce": "n", "count": 1e999}', "count"),
    "more digits than anyone reads": ('{"nonce": "n", "count": ' + "9" * 5000 + "}", "JSON"),
    "python": ("{'nonce': 'n', 'count': 2}", "JSON"),
    "thoughts without an end": ("<think>one, two, three", "thoughts without an end"),
    "empty": ("", "empty"),
    "blank": (" \n\t", "empty"),
    "null": ("null", "object"),
    "a number as text": ('{"nonce": "n", "count": "2"}', "count"),
    "a share": ('{"nonce": "n", "count": 1.5}', "count"),
    "too many": ('{"nonce": "n", "count": 99}', "count"),
    "negative": ('{"nonce": "n", "count": -1}', "count"),
    "not a number": ('{"nonce": "n", "count": NaN}', "no number"),
    "true": ('{"nonce": "n", "count": true}', "count"),
    "one key too many": ('{"nonce": "n", "count": 2, "admin": true}', "admin"),
    "no nonce": ('{"count": 2}', "nonce"),
    "deep": ("[" * 100_000, "recursion"),
    "deep objects": ('{"a":' * 50_000, "recursion"),
    "deep after prose": ("So: " + '{"a":[' * 50_000, "recursion"),
    "many braces": ("{" * 100_000, "JSON"),
    "many closed braces": ("{a}" * 50_000, "JSON"),
    "many ends of thoughts": ("x</think>" * 20_000, "JSON"),
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
