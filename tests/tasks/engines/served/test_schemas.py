"""What a server holds a model to: as tight as the question, in words that strict servers know, few schemas in all."""

import json
import re
from typing import Any

import jsonschema
import numpy as np
import pytest

from schemas import Box, Instance
from tasks.caption.stage import CaptionSettings, caption
from tasks.caption.turns import count_question, describe_question, score_question, triplets_question
from tasks.engines.base import VerifyRequest
from tasks.engines.replies import DescribeReply, Entity, Triplet, TripletsReply
from tasks.engines.served.captioner import ServedCaptioner
from tasks.engines.served.language import ServedLanguage
from tasks.engines.served.options import CaptionerOptions, VerifierOptions
from tasks.engines.served.verifier import ServedVerifier
from tasks.engines.served.wire import strict_schema
from tests.tasks.caption.captioning import CAPTION, good_answer, make_case

WORDS = {
    "type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "pattern", "minimum", "maximum",
    "minItems", "maxItems", "description",
}  # fmt: skip
"""Of the schema language, what OpenAI's strict mode and vLLM's grammars both know."""

LISTED = TripletsReply.model_validate_json(json.dumps(good_answer("triplets", {"caption": CAPTION, "nonce": ""})))


def triplet_schema(caption: str = CAPTION, count: int = 2, slack: int = 1) -> dict[str, Any]:
    return strict_schema(triplets_question("", caption, count, slack).schema)


def describe_schema(*ids: str) -> dict[str, Any]:
    entities = [Entity(id=i, phrase="x") for i in ids]
    return strict_schema(describe_question("", CAPTION, LISTED.triplets, entities).schema)


def verifier_schema(home: Any, *ids: str) -> dict[str, Any]:
    frame = np.zeros((64, 64, 3), np.uint8)
    wanted = tuple(Instance(id=i, cls="man", noun=f"man {i}", app="", spatial="") for i in ids)
    request = VerifyRequest(frame, frame, Box(x0=0, y0=0, x1=40, y1=40), "man", wanted)
    return strict_schema(ServedVerifier(VerifierOptions(), home)._question(request).schema)


@pytest.fixture
def all_schemas(home: Any) -> dict[str, dict[str, Any]]:
    captioner = ServedCaptioner(CaptionerOptions(), home)._question(np.zeros((2, 64, 64, 3), np.uint8))
    return {
        "count": strict_schema(count_question("", CAPTION).schema),
        "triplets": triplet_schema(),
        "score": strict_schema(score_question("", CAPTION, LISTED.triplets[0], LISTED.entities).schema),
        "describe": describe_schema("id1", "id2"),
        "verifier": verifier_schema(home, "id1", "id4"),
        "captioner": strict_schema(captioner.schema),
    }


def leaves(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    if node.get("type") == "object":
        assert node["additionalProperties"] is False and sorted(node["required"]) == sorted(node["properties"])
        return [leaf for name, below in node["properties"].items() for leaf in leaves(below, f"{path}.{name}")]
    own = [(path, node)] if "anyOf" not in node else []
    below = [node["items"]] if "items" in node else node.get("anyOf", [])
    return own + [leaf for one in below for leaf in leaves(one, path)]


def test_every_leaf_is_bounded_in_words_that_strict_servers_know(all_schemas: dict[str, dict[str, Any]]) -> None:
    for name, schema in all_schemas.items():
        for path, leaf in leaves(schema):
            assert set(leaf) <= WORDS, (name, path)
            if leaf["type"] == "string":
                # One paragraph has no bound that a grammar could bear: the token limit ends it.
                assert "enum" in leaf or "pattern" in leaf or path == ".caption", (name, path)
            elif leaf["type"] == "array":
                assert leaf["maxItems"] <= 128
            elif leaf["type"] in ("integer", "number"):
                assert {"minimum", "maximum"} <= set(leaf), (name, path)
            else:
                assert leaf["type"] == "null"


def test_lists_are_as_long_as_what_was_counted() -> None:
    made = triplet_schema(count=3, slack=1)["properties"]
    assert (made["triplets"]["minItems"], made["triplets"]["maxItems"]) == (2, 4)
    assert (made["entities"]["minItems"], made["entities"]["maxItems"]) == (2, 8)
    assert triplet_schema(count=1, slack=1)["properties"]["triplets"]["minItems"] == 1
    huge = triplet_schema(count=64, slack=10)["properties"]
    assert (huge["triplets"]["maxItems"], huge["entities"]["maxItems"]) == (64, 128)


def test_what_the_model_is_held_to_takes_a_good_answer_and_no_runaway(all_schemas: dict[str, dict[str, Any]]) -> None:
    for turn in ("count", "triplets", "score", "describe"):
        entities = [{"id": i} for i in ("id1", "id2")]
        answer = good_answer(turn, {"caption": CAPTION, "nonce": "0" * 16, "entities": entities})
        jsonschema.validate(answer, all_schemas[turn])
    good = good_answer("triplets", {"caption": CAPTION, "nonce": "0" * 16})
    first = good["triplets"][0]
    for wrong in (
        {"triplets": [first] * 4},
        {"triplets": []},
        {"triplets": [first | {"interaction": "id1 kicks id2"}]},
        {"triplets": [first | {"interaction": f"<id1> {'kicks ' * 20}<id2>"}]},
        {"triplets": [first | {"src1": "<id1>"}]},
        {"triplets": [first | {"source_sentence": "on and " * 100}]},
        {"entities": [{"id": "id1", "phrase": "a man"}] * 7},
        {"entities": [{"id": "id1", "phrase": "a very " * 50}] * 2},
        {"nonce": "n"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(good | wrong, all_schemas["triplets"])


def test_only_the_ids_of_the_question_can_be_named(home: Any) -> None:
    made = describe_schema("id2", "id5")["properties"]["instances"]
    assert made["items"]["properties"]["id"]["enum"] == ["id2", "id5"]
    assert (made["minItems"], made["maxItems"]) == (2, 2)
    assigned = verifier_schema(home, "id3", "id1")["properties"]["assigned_id"]
    assert assigned == {"anyOf": [{"type": "string", "enum": ["id3", "id1"]}, {"type": "null"}]}


def test_no_word_of_the_caption_is_in_a_schema_and_captions_share_theirs() -> None:
    captions = [
        f"A man in a red shirt kicks {'very ' * (n % 7)}blue ball number {n}. A dog sleeps." for n in range(200)
    ]
    made = {json.dumps(triplet_schema(text, 2, 1), sort_keys=True) for text in captions}
    assert len(made) == 2  # sentences of up to 64 and of up to 128 characters
    assert not any(word in schema for schema in made for word in ("kicks", "ball", "dog"))
    assert triplets_question("", captions[0], 2, 1).schema is triplets_question("", captions[7], 2, 1).schema


def test_the_bound_of_a_sentence_leaves_room_and_long_ones_have_none() -> None:
    def pattern(length: int) -> str | None:
        items = triplet_schema("x" * length)["properties"]["triplets"]["items"]
        return items["properties"]["source_sentence"].get("pattern")

    for length in (1, 40, 51, 52, 100, 400):
        bound = int(re.fullmatch(r".*\{1,(\d+)\}\$", pattern(length) or "").group(1))  # type: ignore[union-attr]
        assert length * 1.25 <= bound < max(65, length * 2.6)
    assert pattern(500) is None and pattern(8000) is None


def test_a_form_held_to_a_question_validates_as_ever() -> None:
    """What can be mended must come through: the bounds are for servers that hold to them."""
    form = triplets_question("", CAPTION, 2, 1).schema
    assert issubclass(form, TripletsReply) and form.__name__ == "TripletsReply"
    loose = {"interaction": "id1 kicks id2", "src1": "<id1>", "tgt1": "id2", "source_sentence": "x" * 999,
             "type": "functional action based interaction"}  # fmt: skip
    many = {"nonce": "n", "entities": [], "triplets": [loose] * 9}
    assert form.model_validate_json(json.dumps(many)).triplets[0] == Triplet(**loose)  # type: ignore[arg-type]
    assert form.held and not TripletsReply.held and not DescribeReply.held


@pytest.mark.parametrize("bounded", [True, False])
def test_lengths_can_be_left_out_for_servers_that_cannot(bounded: bool, serve: Any, engine: Any) -> None:
    server = serve()
    list(
        caption([make_case(1, CAPTION)], engine(server, ServedLanguage, bound_strings=bounded), None, CaptionSettings())
    )
    sent = server.asked[-1].body["response_format"]["json_schema"]["schema"]["properties"]["instances"]["items"]
    assert ("pattern" in sent["properties"]["app"]) is bounded
    assert sent["properties"]["id"]["enum"] == ["id1", "id2", "id3"]
