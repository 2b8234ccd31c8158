"""A server that mixes up replies: not one may land on another clip, turn or candidate.

A public captioning system once shipped captions on the wrong videos for five releases. Here every reply that goes to
the wrong request is otherwise flawless, so that only the nonce can tell.
"""

import asyncio
import json
import random
import re

import numpy as np
import pytest

from schemas import Box, Instance, Reason, Status
from tasks.caption.stage import CaptionSettings, caption
from tasks.engines.asking import Question, ask_until_it_holds, make_nonce
from tasks.engines.base import BadReply, VerifyRequest
from tasks.engines.prompts import load_prompt
from tasks.engines.replies import CountReply
from tasks.engines.served.captioner import ServedCaptioner
from tasks.engines.served.verifier import ServedVerifier
from tests.tasks.caption.captioning import make_case
from tests.tasks.engines.served.fault_server import said

PROMPT = load_prompt("v1", "count")
COLOURS = ("red", "blue", "green", "black", "white", "grey", "brown", "pink")


class Shuffler:
    """Holds requests until some are together, then gives a share of them each other's replies."""

    def __init__(self, answer, share: float, group: int = 8) -> None:
        self.answer, self.share, self.group = answer, share, group
        self.waiting: list[tuple[object, asyncio.Future]] = []
        self.random = random.Random(7)
        self.swapped = 0
        self.timer: asyncio.TimerHandle | None = None

    async def __call__(self, asked):
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((self.answer(asked), future))
        if self.timer:
            self.timer.cancel()
        if len(self.waiting) >= self.group:
            self.release()
        else:
            self.timer = asyncio.get_running_loop().call_later(0.03, self.release)
        return await future

    def release(self) -> None:
        group, self.waiting = self.waiting, []
        replies = [told for told, _ in group]
        if len(group) > 1 and self.random.random() < self.share:
            replies = replies[1:] + replies[:1]
            self.swapped += len(group)
        for (_, future), told in zip(group, replies, strict=True):
            if not future.done():
                future.set_result(told)


def caption_of(n: int) -> str:
    """Every clip's caption names things that no other has."""
    return f"A man in a {COLOURS[n % 8]} coat number{n} kicks a {COLOURS[n // 8 % 8]} ball number{n}."


def own_answer(asked):
    """A flawless reply, all of whose parts show which caption it is about."""
    doc = asked.document
    man, ball = doc["caption"][:-1].split(" kicks ")
    answers = {
        "count": {"count": 1},
        "triplets": {
            "entities": [{"id": "id1", "phrase": man}, {"id": "id2", "phrase": ball}],
            "triplets": [{
                "interaction": "<id1> kicks <id2>", "src1": "id1", "tgt1": "id2",
                "type": "functional action based interaction", "source_sentence": doc["caption"],
            }],
        },
        "score": {"Contact": 5, "Dynamism": 5, "Explanation": doc["caption"], "confidence": 0.9},
        "describe": {"instances": [
            {"id": "id1", "cls": "man", "noun": man, "app": man, "spatial": "Left."},
            {"id": "id2", "cls": "ball", "noun": ball, "app": ball, "spatial": "Right."},
        ]},
    }  # fmt: skip
    return said(json.dumps({"nonce": doc["nonce"], **answers[asked.turn]}))


def test_not_one_of_hundreds_of_captions_gets_anothers_labels(serve, engine):
    shuffler = Shuffler(own_answer, share=0.5)
    server = serve(shuffler)
    cases = [make_case(n, caption_of(n)) for n in range(1, 71)]
    rows = list(caption(cases, engine(server), None, CaptionSettings(concurrency=32, max_asks=6)))
    assert len(rows) == 70 and shuffler.swapped > 120 and len(server.asked) > 350
    accepted = 0
    for n, row in enumerate(rows, 1):
        if row.status is not Status.ACCEPTED:
            assert row.reason is Reason.BAD_REPLY
            continue
        accepted += 1
        about = [i.noun for i in row.payload.instances] + [i.app for i in row.payload.instances]
        about += [a.rating.explanation for a in row.payload.interactions]
        assert len(about) == 5
        for text in about:
            assert text.rstrip(".").endswith(f"number{n}")
    assert accepted > 35
    for asked in server.asked:  # nor does a strange reply stand in a later question
        own = asked.document["caption"].rsplit(" ", 1)[-1]
        assert set(re.findall(r"number[0-9]+\.", asked.parts[0]["text"])) <= {own}


def test_every_single_swap_is_caught_even_where_replies_say_the_same(serve, engine):
    """Turn 1 of all clips has the same answer: only the nonce tells them apart."""
    shuffler = Shuffler(own_answer, share=1.0, group=5)
    server = serve(shuffler)
    llm = engine(server)

    async def all_of_them():
        asks = (
            ask_until_it_holds(
                llm, Question("count", PROMPT, {"caption": caption_of(n)}, CountReply, lambda _: None), 1,
                lambda attempt, n=n: make_nonce(str(n), "count", attempt),
            )
            for n in range(300)
        )  # fmt: skip
        return await asyncio.gather(*asks, return_exceptions=True)

    ends = asyncio.run(all_of_them())
    caught = sum(isinstance(end, BadReply) and "nonce" in str(end) for end in ends)
    assert caught == shuffler.swapped
    assert caught > 200 and caught + sum(isinstance(end, CountReply) for end in ends) == 300


def verdict_answer(asked):
    """Names the candidate, with its noun for a reason."""
    one = asked.document["candidates"][0]
    answer = {"assigned_id": one["id"], "confidence": 0.9, "rationale": one["noun"]}
    return said(json.dumps({"nonce": asked.document["nonce"], **answer}))


def test_no_verdict_lands_on_another_box(serve, engine):
    shuffler = Shuffler(verdict_answer, share=0.5)
    verifier = engine(serve(shuffler), ServedVerifier, max_asks=8)
    frame = np.zeros((48, 64, 3), np.uint8)

    def request(n):
        box = Box(x0=n % 30, y0=1, x1=n % 30 + 20, y1=40)
        who = Instance(id="id1", cls="man", noun=f"man number {n}", app="", spatial="")
        return VerifyRequest(frame, frame[1:40, :20], box, "man", (who,))

    async def all_of_them():
        return await asyncio.gather(*(verifier.verify(request(n)) for n in range(100)), return_exceptions=True)

    ends = asyncio.run(all_of_them())
    assert shuffler.swapped > 50
    held = {n: end for n, end in enumerate(ends) if not isinstance(end, BadReply)}
    assert {n: end.rationale for n, end in held.items()} == {n: f"man number {n}" for n in held}
    assert len(held) > 50


def test_no_caption_lands_on_another_video(serve, engine):
    def answer(asked):
        count = asked.document["frames"]
        return said(json.dumps({"nonce": asked.document["nonce"], "caption": f"{count} frames."}))

    shuffler = Shuffler(answer, share=0.5)
    captioner = engine(serve(shuffler), ServedCaptioner, max_asks=8)

    async def all_of_them():
        frames = (np.full((n, 8, 8, 3), n, np.uint8) for n in range(1, 41))
        return await asyncio.gather(*(captioner.describe(f) for f in frames), return_exceptions=True)

    ends = asyncio.run(all_of_them())
    held = {n: text for n, text in enumerate(ends, 1) if isinstance(text, str)}
    assert held == {n: f"{n} frames." for n in held}
    assert shuffler.swapped > 10 and len(held) > 20


@pytest.mark.parametrize("echo", ["", "0" * 16, "N" * 16, "nnnnnnnnnnnnnnnn "])
def test_a_nonce_must_be_echoed_to_the_letter(echo, serve, engine):
    server = serve(lambda _: said(json.dumps({"nonce": echo, "count": 1})))
    question = Question("count", PROMPT, {"caption": "A man kicks a ball."}, CountReply, lambda _: None)
    with pytest.raises(BadReply, match="nonce"):
        asyncio.run(ask_until_it_holds(engine(server), question, 2, lambda _: "n" * 16))
    assert len(server.asked) == 2
