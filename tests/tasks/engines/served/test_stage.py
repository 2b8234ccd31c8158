"""The caption stage over a server that answers wrongly: a row with a reason, or pending, and nothing between."""

import json

import pytest

from schemas import Reason, Status
from tasks.caption.stage import CaptionSettings, caption
from tasks.engines.base import Message
from tasks.engines.embedded.language import EmbeddedLanguage
from tasks.engines.replies import CountReply, DescribeReply, ScoreReply, TripletsReply
from tasks.errors import InfrastructureError, StopRun
from tests.tasks.caption.captioning import CAPTION, good_answer, make_case, world_truth
from tests.tasks.engines.served.fault_server import failed, good, said


def broken(turn, change):
    """Good answers but for one turn, whose answer is changed every time."""

    def answer(asked):
        if asked.turn != turn:
            return good(asked)
        return said(json.dumps(change(good_answer(turn, asked.document))))

    return answer


def with_triplet(**fields):
    return lambda said_: said_ | {"triplets": [said_["triplets"][0] | fields, *said_["triplets"][1:]]}


def with_instance(**fields):
    return lambda said_: said_ | {"instances": [said_["instances"][0] | fields, *said_["instances"][1:]]}


LIES = {
    "contact 0": ("score", lambda s: s | {"Contact": 0}, "Contact"),
    "contact 6": ("score", lambda s: s | {"Contact": 6}, "Contact"),
    "contact high": ("score", lambda s: s | {"Contact": "high"}, "Contact"),
    "contact 4 as text": ("score", lambda s: s | {"Contact": "4"}, "Contact"),
    "dynamism 2.5": ("score", lambda s: s | {"Dynamism": 2.5}, "Dynamism"),
    "confidence 1.1": ("score", lambda s: s | {"confidence": 1.1}, "confidence"),
    "a score too few": ("score", lambda s: {k: v for k, v in s.items() if k != "Dynamism"}, "Dynamism"),
    "unknown ID": ("triplets", with_triplet(tgt1="id9", interaction="<id1> kicks <id9>"), "id9"),
    "self-referring": ("triplets", with_triplet(tgt1="id1", interaction="<id1> kicks <id1>"), "subject and object"),
    "no ID": ("triplets", with_triplet(src1="the man"), "src1"),
    "ID 0": ("triplets", with_triplet(src1="id0"), "src1"),
    "another surface form": ("triplets", with_triplet(interaction="<id2> kicks <id1>"), "disagrees"),
    "an invented sentence": (
        "triplets",
        with_triplet(source_sentence="A cat sleeps."),
        "does not stand in the caption",
    ),
    "an invented type": ("triplets", with_triplet(type="love"), "type"),
    "none listed": ("triplets", lambda s: s | {"triplets": [], "entities": []}, "0 are listed"),
    "described twice": ("describe", lambda s: s | {"instances": s["instances"][:1] * 3}, "stands twice"),
    "described another": ("describe", with_instance(id="id7"), "id1"),
    "described one too few": ("describe", lambda s: s | {"instances": s["instances"][1:]}, "id1"),
}


@pytest.mark.parametrize(("turn", "change", "word"), LIES.values(), ids=LIES)
def test_a_lie_is_asked_again_with_its_problem_and_then_rejected(turn, change, word, serve, engine):
    server = serve(broken(turn, change))
    (row,) = caption([make_case(1, CAPTION)], engine(server), None, CaptionSettings(max_asks=2))
    assert (row.status, row.reason) == (Status.REJECTED, Reason.BAD_REPLY)
    assert row.detail.startswith(turn) and word in row.detail and "2 answers" in row.detail
    asks = [a for a in server.asked if a.turn == turn]
    again = [a for a in asks if "problem" in a.document]
    assert len(again) == len(asks) / 2  # turn 3 asks one question a triplet, side by side
    assert all(word in a.document["problem"]["error"] for a in again)
    assert row.usage.requests == len(server.asked)  # what a rejected clip cost is on record


def test_a_lie_that_is_mended_when_asked_again_is_forgiven(serve, engine):
    def answer(asked):
        if asked.turn == "score" and "problem" not in asked.document:
            return said("```json\n{}\n```")
        return good(asked)

    (row,) = caption([make_case(1, CAPTION)], engine(serve(answer)), None, CaptionSettings())
    assert row.status is Status.ACCEPTED and row.usage.requests == 7


def test_over_http_a_model_answers_as_in_the_process(serve, engine):
    """The embedded model behind a server: messages, schemas and replies survive the way there and back."""
    forms = {f.__name__: f for f in (CountReply, TripletsReply, ScoreReply, DescribeReply)}

    async def answer(asked):
        messages = [Message(m["role"], m["content"]) for m in asked.body["messages"]]
        form = forms[asked.body["response_format"]["json_schema"]["name"]]
        return said((await EmbeddedLanguage().ask(messages, form)).model_dump_json())

    cases = [make_case(n, world_truth(n).caption) for n in range(1, 25)]
    llm = engine(serve(answer))
    served = list(caption(cases, llm, None, CaptionSettings()))
    direct = list(caption(cases, EmbeddedLanguage(), None, CaptionSettings()))
    assert sum(row.status is Status.ACCEPTED for row in direct) > 15
    for there, here in zip(served, direct, strict=True):
        assert (there.status, there.reason, there.detail) == (here.status, here.reason, here.detail)
        if here.payload:
            assert there.payload == here.payload.model_copy(update={"model": llm.identity})


def test_clips_that_the_server_failed_are_pending_and_the_others_on_record(serve, engine):
    """One in three clips meets a server that fails it every time."""

    def answer(asked):
        return failed(503) if "number1" in asked.document["caption"] else good(asked)

    cases = [make_case(n, f"{CAPTION}" if n % 3 else f"{CAPTION[:-1]} number1.") for n in range(1, 10)]
    llm = engine(serve(answer), retries=1, breaker_after=100)
    rows = []
    with pytest.raises(InfrastructureError, match="HTTP 503") as caught:
        for row in caption(cases, llm, None, CaptionSettings()):
            rows.append(row)
    assert not isinstance(caught.value, StopRun)
    assert [r.key for r in rows] == [c.clip.clip_id for n, c in enumerate(cases, 1) if n % 3]
    assert all(r.status is Status.ACCEPTED for r in rows)


def test_the_run_stops_with_the_reason_that_stops_it(serve, engine):
    """Of many clips the first one met an ordinary failure; what ends the batch is the one that stops the run."""
    llm = engine(serve(lambda _: failed(500, "disk full")), retries=0, breaker_after=4)
    with pytest.raises(StopRun, match=r"4 requests in a row failed.*disk full"):
        list(caption([make_case(n, CAPTION) for n in range(1, 9)], llm, None, CaptionSettings(concurrency=1)))


def test_a_caption_that_the_server_refuses_is_the_clips_end_and_nobody_elses(serve, engine):
    def answer(asked):
        if "forbidden" in asked.document["caption"]:
            return failed(400, "content management policy", "content_filter")
        return good(asked)

    cases = [make_case(1, CAPTION), make_case(2, CAPTION[:-1] + " forbidden."), make_case(3, CAPTION)]
    rows = list(caption(cases, engine(serve(answer)), None, CaptionSettings()))
    assert [r.status for r in rows] == [Status.ACCEPTED, Status.REJECTED, Status.ACCEPTED]
    assert rows[1].reason is Reason.BAD_REPLY and "content management policy" in rows[1].detail
