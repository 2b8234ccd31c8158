"""What must hold with any model in this process, whatever it answers: the contract of the engines behind a server.

Runs on tiny random weights, of a causal and of a vision-language model, and on the checkpoint in MATRIX_TEST_LLM, a
folder or a hub name. Random weights answer noise of the right form.
"""

import asyncio
import os

import numpy as np
import pytest

from schemas import Box, Instance, Reason, Status
from tasks.caption.stage import CaptionSettings, caption
from tasks.engines.asking import build_messages
from tasks.engines.base import BadReply, VerifyRequest
from tasks.engines.in_process.engine import InProcessCaptioner, InProcessLanguage, InProcessVerifier
from tasks.engines.metering import metered
from tasks.engines.prompts import load_prompts
from tasks.engines.replies import CountReply
from tests.tasks.caption.captioning import CAPTION, make_case
from tests.tasks.engines.served.asking import ask

WHO = Instance(id="id2", cls="man", noun="man in red", app="He wears red.", spatial="Left.")


@pytest.fixture(params=["causal", "vision", pytest.param("MATRIX_TEST_LLM", marks=pytest.mark.slow)])
def target(request, vlm, llm):
    if request.param == "MATRIX_TEST_LLM" and request.param not in os.environ:
        pytest.skip("set MATRIX_TEST_LLM to a model folder or a hub name")
    return {"causal": llm, "vision": vlm}.get(request.param) or os.environ[request.param]


def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


def verify(engine, **options):
    request = VerifyRequest(frame(), frame()[20:50, 30:60], Box(x0=30, y0=20, x1=60, y1=50), "man", (WHO,))
    return asyncio.run(engine.verify(request))


def test_the_identity_tells_model_weights_and_precision_and_stays(target, engine):
    one = engine(target)
    assert one.identity == engine(target, home="other").identity and "\n" not in one.identity
    assert one.identity.startswith("in-process-language/1 ") and " fp32 " in one.identity
    assert one.resolved.startswith("weights ") and one.resolved in one.identity
    assert engine(target, max_tokens=100).identity != one.identity != engine(target, precision="bf16").identity


def test_a_question_ends_in_a_checked_reply_whose_tokens_are_counted_and_that_is_kept(target, engine, monkeypatch):
    one = engine(target)
    with metered() as meter:
        reply = ask(one)
    assert meter.usage.requests == 1 and meter.usage.prompt_tokens > 0 and meter.usage.completion_tokens > 0
    one.close()
    again = engine(target)
    monkeypatch.setattr(again.place.line, "answer", None)  # nobody is asked
    with metered() as kept:
        assert ask(again) == reply
    assert kept.usage.cached_requests == 1
    assert kept.usage.cached_tokens == meter.usage.prompt_tokens + meter.usage.completion_tokens


def test_a_reply_that_was_no_good_is_forgotten(llm, engine):
    one = engine(llm)
    first = ask(one)
    asyncio.run(one.forget(ask.messages(), CountReply))
    with metered() as meter:
        assert ask(one) == first
    assert meter.usage.cached_requests == 0


def test_a_reply_that_the_token_limit_cuts_off_is_told(llm, engine):
    """Not even the nonce and the field's name go into so few bytes."""
    one = engine(llm, max_tokens=64)
    one.options = one.options.model_copy(update={"max_tokens": 8})
    with metered() as meter, pytest.raises(BadReply, match="max_tokens"):
        ask(one)
    assert meter.usage.completion_tokens == 8


def test_a_question_longer_than_the_model_can_read_is_the_clips_fault(llm, engine):
    with pytest.raises(BadReply, match=r"too long: .* tokens.*reads 16384"):
        ask(engine(llm), caption="A man kicks a ball. " * 1000)


def test_a_batch_of_clips_is_all_accounted_for(llm, engine):
    cases = [make_case(n, CAPTION) for n in range(1, 7)]
    rows = list(caption(cases, engine(llm), None, CaptionSettings(max_asks=1)))
    assert [row.key for row in rows] == [case.clip.clip_id for case in cases]
    for row in rows:
        assert row.usage.requests >= 1 and row.usage.prompt_tokens > 0
        if row.status is Status.REJECTED:
            assert row.reason in (Reason.BAD_REPLY, Reason.NO_INTERACTION, Reason.FILTERED), row.detail
        else:
            assert row.status is Status.ACCEPTED, row.detail


def test_images_are_looked_at_and_a_verdict_is_about_a_candidate(vlm, engine):
    with metered() as meter:
        assert verify(engine(vlm, InProcessVerifier, max_asks=1)).assigned_id in ("id2", None)
    text = len(load_prompts("v1").texts["count"])
    assert meter.usage.prompt_tokens > text and meter.usage.requests >= 1
    several = engine(vlm, InProcessVerifier, max_asks=1, several=2, max_tokens=600)
    request = VerifyRequest(frame(), frame()[20:50, 30:60], Box(x0=30, y0=20, x1=60, y1=50), "man", (WHO,))
    try:
        verdicts = asyncio.run(several.verify_several([request, request]))
        assert len(verdicts) == 2 and {v.assigned_id for v in verdicts} <= {"id2", None}
    except BadReply as bad:
        assert "numbered" in str(bad)  # the form says which numbers, not in which order
    assert asyncio.run(engine(vlm, InProcessCaptioner).describe(np.stack([frame()] * 3))).strip()


def test_engines_of_one_model_load_it_once_and_let_go_of_it_together(vlm, engine):
    language, verifier = engine(vlm, InProcessLanguage), engine(vlm, InProcessVerifier)
    assert language.place is verifier.place
    before = ask(language)
    network = language.place.network()
    assert verifier.place.network() is network
    verifier.release()
    assert language.identity  # known without the model
    asyncio.run(language.forget(ask.messages(), CountReply))
    assert ask(language) == before and language.place.network() is not network


def test_alone_and_in_a_batch_the_same_is_said(llm, engine):
    one, many = engine(llm, batch=1, home="one"), engine(llm, batch=8, home="many")

    async def all_of(which):
        texts = [f"{CAPTION} {'It rains. ' * n}" for n in range(6)]
        messages = [build_messages("Count.", {"caption": text}, f"{n:016x}") for n, text in enumerate(texts)]
        return await asyncio.gather(*(which.ask(m, CountReply) for m in messages))

    assert asyncio.run(all_of(one)) == asyncio.run(all_of(many))


def test_check_tells_one_line(target, vlm, engine):
    for kind in (InProcessLanguage, InProcessVerifier, InProcessCaptioner)[: 3 if target == vlm else 1]:
        line = engine(target, kind).check()
        assert line.isprintable() and "answered in" in line and "parameters" in line
