"""JSON enforced while decoding: whatever the weights, every reply has the form of its question's schema."""

import json
from collections import Counter
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from schemas import Box, Instance
from tasks.caption.turns import count_question, describe_question, score_question, triplets_question
from tasks.engines.asking import Question, build_messages, make_nonce
from tasks.engines.base import VerifyRequest
from tasks.engines.in_process.engine import InProcessCaptioner, InProcessVerifier
from tasks.engines.in_process.held import LONGEST, schema_of
from tasks.engines.in_process.network import Asked
from tasks.engines.replies import TripletsReply
from tasks.engines.served.reply import parse
from tests.tasks.caption.captioning import CAPTION, good_answer

LISTED = TripletsReply.model_validate_json(json.dumps(good_answer("triplets", {"caption": CAPTION, "nonce": ""})))
MOST = 500
"""Tokens are bytes here, so a reply has many."""
ROUNDS, OF_ALL = 96, 4


def questions(engine, vlm, number: int) -> list[tuple[str, Question]]:
    """One of each kind, another for every number; of those whose replies are long, fewer."""
    rng = np.random.default_rng(number)
    frame = rng.integers(0, 255, (64, 96, 3), np.uint8)
    men = tuple(Instance(id=f"id{k}", cls="man", noun=f"man {k}", app="", spatial="") for k in (1, number % 8 + 2))
    request = VerifyRequest(frame, frame[:40, :40], Box(x0=0, y0=0, x1=40, y1=40), "man", men)
    text = f"{CAPTION} It is day {number}."
    made = [
        ("count", count_question("Count.", text)),
        ("score", score_question("Rate.", text, LISTED.triplets[0], LISTED.entities)),
        ("triplets", triplets_question("List.", text, 1, 0)),
        ("describe", describe_question("Describe.", text, LISTED.triplets, LISTED.entities)),
        ("verify", engine(vlm, InProcessVerifier)._question(request)),
        ("caption", engine(vlm, InProcessCaptioner)._question(np.stack([frame] * 2))),
    ]
    return [(name, replace(question, prompt="Answer.")) for name, question in made[: None if number < OF_ALL else 2]]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_replies_of_random_weights_have_the_form_of_all_schemas(engine, vlm, llm):
    """Each is parsed as the stage parses it, and most would go on for ever: the token limit ends none of them."""
    by_turn: dict[str, list] = {}
    for number in range(ROUNDS):
        for turn, question in questions(engine, vlm, number):
            nonce = make_nonce(f"{number:016x}", turn, 0)
            messages = build_messages(question.prompt, question.document, nonce, images=question.images)
            by_turn.setdefault(turn, []).append((question, nonce, messages))
    seen = Counter()
    for turn, asked in by_turn.items():
        held = [Asked(m, schema_of(m, q.schema), MOST) for q, _, m in asked]
        network = engine(vlm if asked[0][0].images else llm).place.network()
        for (question, nonce, _), one, said in zip(asked, held, network.answer(held), strict=True):
            jsonschema.validate(json.loads(said.text), one.schema)
            reply = parse(said.text, question.schema)
            assert reply.nonce == nonce and not said.problem
            assert said.tokens.completion_tokens <= one.most
            seen[turn] += 1
    assert sum(seen.values()) >= 200 and len(seen) == 6


def test_a_question_of_its_own_makes_a_schema_of_its_own():
    question = score_question("Rate.", CAPTION, LISTED.triplets[0], LISTED.entities)
    one, other = (
        schema_of(build_messages(question.prompt, question.document, nonce), question.schema) for nonce in "ab"
    )
    assert one["properties"]["nonce"] == {"const": "a"} and other["properties"]["nonce"] == {"const": "b"}
    assert {0.0, 0.37, 1.0} <= set(one["properties"]["confidence"]["enum"])
    pattern = one["properties"]["Explanation"]["pattern"]
    for text, fits in (("The man’s foot hits it.", True), ("x" * 241, False), ("a\x1b[2J", False), ("a\u202eb", False)):
        try:
            jsonschema.validate(text, {"pattern": pattern})
        except jsonschema.ValidationError:
            assert not fits, text
        else:
            assert fits, text


def test_what_a_server_may_leave_open_is_bounded_here(engine, vlm):
    question = engine(vlm, InProcessCaptioner)._question(np.zeros((2, 64, 64, 3), np.uint8))
    schema = schema_of(build_messages("", question.document, "n"), question.schema)
    assert schema["properties"]["caption"]["pattern"].endswith(f"{{1,{LONGEST}}}$")


def test_a_model_whose_logits_are_wider_than_its_vocabulary_never_says_what_it_has_no_word_for(engine, llm):
    network = engine(llm).place.network()
    assert network.model.config.vocab_size > len(network.tokenizer)
    question = count_question("Count.", CAPTION)
    messages = build_messages(question.prompt, question.document, "0" * 16)
    (said,) = network.answer([Asked(messages, schema_of(messages, question.schema), 64)])
    assert parse(said.text, question.schema).nonce == "0" * 16
