"""Examples of the prompts, read out of the prompt files, are no answers; the same words out of the caption are."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from tasks.engines.asking import Question, ask_until_it_holds
from tasks.engines.base import BadReply, Message, Reply
from tasks.engines.captioning import CaptionReply
from tasks.engines.examples import examples_of, no_example
from tasks.engines.prompts import load_prompt
from tasks.engines.replies import DescribeReply, Descriptor, Entity, ScoreReply, TripletsReply
from tasks.engines.verifying import AssignedReply

DESCRIBE = load_prompt("v1", "describe")
ELSEWHERE = {"caption": "A woman pours water into a glass."}


def described(**fields: str) -> DescribeReply:
    entry = {"id": "id1", "cls": "woman", "noun": "pouring woman", "app": "", "spatial": "", **fields}
    return DescribeReply(nonce="", instances=[Descriptor(**entry)])


GIVEN_BACK = {
    "word for word": ("spatial", "It is on the left and is pushed by the man."),
    "in another dress": ("spatial", "it is on the LEFT, and is pushed by the man"),
    "with a word changed": ("spatial", "It is on the right and is pushed by the man."),
    "among others": ("spatial", "The glass is small. It is on the left and is pushed by the man. It is full."),
    "within a sentence": ("app", "The man in the red shirt is seen from behind."),
    "as another field": ("app", "It is on the left and is pushed by the man."),
    "a short one": ("noun", "left cup"),
    "a short one with an article": ("noun", "the left cup"),
    "an instruction": ("app", "Colour, clothing, material, size."),
    "the template's dots": ("app", "…"),
    "other dots": ("spatial", "..."),
}


@pytest.mark.parametrize(("field", "text"), GIVEN_BACK.values(), ids=GIVEN_BACK)
def test_an_example_given_back_is_refused(field: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} "):
        no_example(described(**{field: text}), DESCRIBE, ELSEWHERE)


FINE = {
    "the same out of the caption": (
        {"noun": "man in the red shirt", "spatial": "It is on the left and is pushed by the man."},
        "A man in a red shirt pushes a cart on the left.",
    ),
    "the left cup, where there is one": ({"noun": "left cup"}, "A woman fills the cup on the left."),
    "a class noun": ({"cls": "man", "noun": "man"}, "Somebody eats."),
    "a shirt of another colour": ({"noun": "man in the blue shirt"}, "Somebody in blue eats."),
    "marks at its end": ({"app": 'It is red. … "'}, "A woman eats."),
    "nothing said": ({"app": "", "spatial": " "}, "A woman eats."),
    "a place of its own": ({"spatial": "It is on the table and is lifted by the woman."}, "A woman eats."),
}


@pytest.mark.parametrize(("fields", "caption"), FINE.values(), ids=FINE)
def test_own_words_and_the_captions_are_fine(fields: dict[str, str], caption: str) -> None:
    no_example(described(**fields), DESCRIBE, {"caption": caption})


def test_every_turn_has_it_and_the_captioner_and_the_verifier() -> None:
    prompt = 'Be kind. Say "A grey heron lands on the roof." or "old heron", and nothing else than that.'
    echo = "A grey heron lands on the roof."
    replies = [
        described(app=echo),
        ScoreReply(nonce="", Contact=1, Dynamism=1, Explanation=echo, confidence=1.0),
        TripletsReply(nonce="", entities=[Entity(id="id1", phrase="an old heron")], triplets=[]),
        CaptionReply(nonce="", caption=f"It rains. {echo} It is cold."),
        AssignedReply(nonce="", assigned_id=None, confidence=1.0, rationale=echo),
    ]
    for reply in replies:
        with pytest.raises(ValueError, match="repeats an example of the instructions"):
            no_example(reply, prompt, ELSEWHERE)
        no_example(reply, prompt, {"candidates": [{"noun": "old grey heron"}], "caption": "It lands on a roof."})
        no_example(reply, "Be kind.", ELSEWHERE)


def test_labels_are_no_prose() -> None:
    """The prompt of turn 2 quotes the two types: they are what it asks for."""
    reply = TripletsReply.model_validate_json(json.dumps({"nonce": "", "entities": [], "triplets": [{
        "interaction": "<id1> pours <id2>", "src1": "id1", "tgt1": "id2", "source_sentence": "x",
        "type": "functional action based interaction",
    }]}))  # fmt: skip
    no_example(reply, load_prompt("v1", "triplets"), ELSEWHERE)


@pytest.mark.parametrize("name", ["count", "triplets", "score", "describe", "captioner", "verifier"])
def test_every_prompt_is_read_and_none_of_its_single_words_counts(name: str) -> None:
    known = examples_of(load_prompt("v1", name))
    assert known and not {"man", "cup", "dog", "a man", "the man", "the other", "…"} & {e.text for e in known}


def test_it_is_asked_again_with_the_reason() -> None:
    class Parrot:
        identity = "parrot/1"

        def __init__(self) -> None:
            self.documents: list[dict[str, Any]] = []

        async def ask(self, messages: Sequence[Message], schema: type[Reply]) -> Reply:
            document = json.loads(messages[-1].text)
            self.documents.append(document)
            own = (
                "It is held."
                if "problem" in document and self.learns
                else "It is on the left and is pushed by the man."
            )
            return described(spatial=own).model_copy(update={"nonce": document["nonce"]})  # type: ignore[return-value]

    for learns in (True, False):
        Parrot.learns = learns  # type: ignore[attr-defined]
        parrot = Parrot()
        asking = ask_until_it_holds(
            parrot, Question("describe", DESCRIBE, ELSEWHERE, DescribeReply, lambda _: None), 2, lambda n: f"{n}" * 16
        )
        if learns:
            assert asyncio.run(asking).instances[0].spatial == "It is held."
        else:
            with pytest.raises(BadReply, match=r"spatial repeats an example .*\(2 answers\)"):
                asyncio.run(asking)
        assert "repeats an example" in parrot.documents[1]["problem"]["error"]
