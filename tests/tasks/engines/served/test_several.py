"""Several boxes in one request over HTTP: two images each in their order, a verdict a box, and what is no answer."""

import asyncio
import json

import numpy as np
import pytest

from schemas import Box, Instance
from tasks.engines.base import BadReply, VerifyRequest
from tasks.engines.served.options import VerifierOptions
from tasks.engines.served.verifier import ServedVerifier
from tests.tasks.engines.served.fault_server import said

MAN, OTHER, DOG = (
    Instance(id=f"id{k}", cls=cls, noun=f"{cls} {k}", app="It is red.", spatial="Left.")
    for k, cls in ((1, "man"), (2, "man"), (3, "dog"))
)
FRAME = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
REQUESTS = [
    VerifyRequest(FRAME, FRAME[:60, :60], Box(x0=0, y0=0, x1=60, y1=60), "man", (MAN, OTHER)),
    VerifyRequest(FRAME, FRAME[:60, 60:], Box(x0=60, y0=0, x1=160, y1=60), "man", (MAN, OTHER)),
    VerifyRequest(FRAME, FRAME[60:], Box(x0=0, y0=60, x1=160, y1=120), "dog", (DOG,)),
]
RIGHT = [{"box": k, "assigned_id": who, "confidence": 0.9, "rationale": "Red."} for k, who in enumerate(
    ("id2", None, "<id3>"), 1
)]  # fmt: skip


def answering(boxes):
    return lambda asked: said(json.dumps({"nonce": asked.document["nonce"], "boxes": boxes}))


def ask(verifier):
    return asyncio.run(verifier.verify_several(REQUESTS))


def test_each_box_has_its_images_its_ids_and_its_verdict(serve, engine):
    server = serve(answering(RIGHT))
    verifier = engine(server, ServedVerifier, several=4)
    assert [v.assigned_id for v in ask(verifier)] == ["id2", None, "id3"]
    (asked,) = server.asked
    assert sum(part["type"] == "image_url" for part in asked.parts) == 6
    boxes = asked.document["boxes"]
    assert [b["number"] for b in boxes] == [1, 2, 3] and [b["class"] for b in boxes] == ["man", "man", "dog"]
    assert [[c["id"] for c in b["candidates"]] for b in boxes] == [["id1", "id2"], ["id1", "id2"], ["id3"]]
    held = asked.body["response_format"]["json_schema"]["schema"]["properties"]["boxes"]
    assert (held["minItems"], held["maxItems"]) == (3, 3)
    assert ask(verifier) and len(server.asked) == 1  # the reply is kept


WRONG = {
    "one left out": RIGHT[:2],
    "in another order": [RIGHT[1], RIGHT[0], RIGHT[2]],
    "one twice": [RIGHT[0], RIGHT[0], RIGHT[2]],
    "an ID of another class": [*RIGHT[:2], RIGHT[2] | {"assigned_id": "id1"}],
    "an ID of nowhere": [RIGHT[0] | {"assigned_id": "id9"}, *RIGHT[1:]],
}


@pytest.mark.parametrize("boxes", WRONG.values(), ids=WRONG)
def test_what_is_no_answer_is_asked_again_and_then_bad(boxes, serve, engine):
    server = serve(answering(boxes))
    with pytest.raises(BadReply, match=r"box|2 answers"):
        ask(engine(server, ServedVerifier, several=4, max_asks=2))
    assert len(server.asked) == 2 and "problem" in server.asked[1].document


def test_a_stage_that_was_begun_before_there_was_a_choice_goes_on():
    before = VerifierOptions().declared()
    assert "several" not in before
    assert VerifierOptions(several=8).declared() not in (before, VerifierOptions(several=4).declared())
