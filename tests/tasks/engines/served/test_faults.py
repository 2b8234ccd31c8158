"""Whose fault, over real HTTP: what is tried again, what is the clip's, what stops the run, how long it may take."""

import asyncio
import json
import time

import pytest

from tasks.engines.base import BadReply
from tasks.engines.served.faults import RequestRefusedError
from tasks.errors import InfrastructureError, StopRun
from tests.tasks.caption.captioning import CAPTION
from tests.tasks.engines.served.asking import ask
from tests.tasks.engines.served.conftest import in_turn
from tests.tasks.engines.served.fault_server import Told, failed, good, said

SERVERS_FAULT = {
    "408": failed(408, "too slow"),
    "409": failed(409, "conflict"),
    "429": failed(429, "slow down"),
    "500": failed(500, "oops"),
    "502 of a proxy": Told(b"<html>Bad gateway</html>", 502, {"content-type": "text/html"}),
    "503": failed(503, "loading"),
    "529": failed(529, "overloaded"),
    "dropped before": Told(drop="before"),
    "dropped in the middle": Told(said("x" * 500).body, drop="middle"),
    "a page instead of JSON": Told(b"<html>hello</html>", 200, {"content-type": "text/html"}),
    "an error in a 200": Told(b'{"error": {"message": "upstream is down", "code": 502}}'),
    "no choices": Told(b'{"choices": [], "usage": {"prompt_tokens": 1}}'),
    "choices of another kind": Told(b'{"choices": "many"}'),
    "negative tokens": Told(b'{"choices": [{"message": {"content": "{}"}}], "usage": {"prompt_tokens": -5}}'),
    "half a JSON": Told(said("x").body[:60]),
    "not UTF-8": Told(b'{"choices": [{"message": {"content": "\xff\xfe'),
    "a silent 504 of megabytes": Told(b"z" * 2_000_000, 504),
}


@pytest.mark.parametrize("told", SERVERS_FAULT.values(), ids=SERVERS_FAULT)
def test_the_servers_fault_is_tried_again(told, serve, engine):
    server = serve(in_turn(told, told, good))
    assert ask(engine(server)).count == 2
    assert len(server.asked) == 3
    assert len({a.raw for a in server.asked}) == 1


@pytest.mark.parametrize("told", SERVERS_FAULT.values(), ids=SERVERS_FAULT)
def test_the_servers_fault_leaves_the_clip_pending_after_all_tries(told, serve, engine):
    server = serve(in_turn(told))
    with pytest.raises(InfrastructureError, match=server.url) as caught:
        ask(engine(server, retries=2))
    assert not isinstance(caught.value, StopRun)
    assert "3 tries" in str(caught.value) and "\n" not in str(caught.value)
    assert len(server.asked) == 3


CLIPS_FAULT = {
    "context of OpenAI": failed(400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
    "context of vLLM": failed(400, "The decoder prompt (length 9000) is longer than the maximum model length of 8192."),
    "policy": failed(400, "The response was filtered due to Azure's content management policy.", "content_filter"),
    "policy by code": failed(400, "No.", "content_policy_violation"),
}


@pytest.mark.parametrize("told", CLIPS_FAULT.values(), ids=CLIPS_FAULT)
def test_the_clips_fault_is_a_bad_reply_at_once(told, serve, engine):
    server = serve(in_turn(told))
    with pytest.raises(BadReply, match="HTTP 400"):
        ask(engine(server))
    assert len(server.asked) == 1


STOPS = {
    "401": (failed(401, "Incorrect API key"), "api_key_env"),
    "403": (failed(403, "no"), "api_key_env"),
    "402": (failed(402, "pay"), "account"),
    "429 without quota": (failed(429, "You exceeded your current quota", "insufficient_quota"), "account"),
    "404 model": (failed(404, "The model `tiny` does not exist."), "model and base_url"),
    "redirect": (Told(b"", 307, {"location": "http://127.0.0.1:1/v1/chat/completions"}), "base_url"),
    "redirect home": (Told(b"", 301, {"location": "/v1/models"}), "base_url"),
}


@pytest.mark.parametrize(("told", "advice"), STOPS.values(), ids=STOPS)
def test_what_nothing_can_follow_stops_the_run_at_the_first_request(told, advice, serve, engine):
    server = serve(in_turn(told))
    llm = engine(server)
    for _ in range(3):
        with pytest.raises(StopRun, match=advice) as caught:
            ask(llm)
        assert server.url in str(caught.value) and "\n" not in str(caught.value)
    assert len(server.asked) == 1  # nobody hammers a server with a refused key


def test_a_request_nobody_understands_is_a_failed_attempt_and_stops_the_run_when_all_are(serve, engine):
    """One odd clip must not hold up a build for ever; a profile that the server rejects must not reject every clip."""
    odd = failed(400, "Unknown parameter: chat_template_kwargs")
    server = serve(in_turn(odd, good, odd, odd, odd))
    llm = engine(server, breaker_after=3)
    with pytest.raises(RequestRefusedError, match="chat_template_kwargs"):
        ask(llm, "first")
    assert ask(llm, "second").count == 2
    for n in range(2):
        with pytest.raises(RequestRefusedError):
            ask(llm, f"again {n}")
    with pytest.raises(StopRun, match=r"3 requests in a row.*chat_template_kwargs"):
        ask(llm, "last")


def test_a_reply_without_end_is_cut_off_unread(serve, engine):
    server = serve(in_turn(Told(b'{"choices": [', endless=True)))
    began = time.perf_counter()
    with pytest.raises(BadReply, match="more than 524288 bytes was cut off"):
        ask(engine(server))
    assert time.perf_counter() - began < 5
    for _ in range(100):
        if server.broken:
            break
        time.sleep(0.02)
    assert server.broken == 1  # the connection is gone, not drained


def test_a_megabyte_is_cut_off_and_a_smaller_bound_is_kept(serve, engine):
    server = serve(in_turn(said("x" * 1_000_000)))
    with pytest.raises(BadReply, match="cut off"):
        ask(engine(server))
    with pytest.raises(BadReply, match="more than 2000 bytes"):
        ask(engine(serve(in_turn(said("x" * 3000))), max_reply_bytes=2000))


def test_a_compressed_reply_is_refused_for_it_may_unpack_to_anything(serve, engine):
    bomb = Told(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", headers={"content-encoding": "gzip"})
    with pytest.raises(BadReply, match="compressed"):
        ask(engine(serve(in_turn(bomb))))


def test_a_slow_drip_ends_at_the_deadline_though_bytes_keep_coming(serve, engine):
    server = serve(in_turn(Told(said("x" * 500).body, drip=0.02)))
    began = time.perf_counter()
    with pytest.raises(InfrastructureError, match=r"no whole reply within 0.3 s \(2 tries\)"):
        ask(engine(server, timeout_s=0.3, retries=1))
    assert 0.6 <= time.perf_counter() - began < 2


def test_a_drip_that_ends_in_time_is_an_answer(serve, engine):
    server = serve(lambda asked: Told(good(asked).body, drip=0.0))
    assert ask(engine(server, timeout_s=20)).count == 2


def test_silence_ends_at_the_deadline_and_a_later_answer_counts(serve, engine):
    server = serve(in_turn(Told(delay=30), good))
    assert ask(engine(server, timeout_s=0.3)).count == 2


def test_a_port_where_nobody_listens(serve, engine):
    with pytest.raises(InfrastructureError, match="no connection"):
        ask(engine("http://127.0.0.1:9/v1", retries=1))


@pytest.mark.parametrize("asked_for", ["1", "0.4", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-5", "9" * 30, ""])
def test_retry_after_is_waited_for_up_to_a_bound(asked_for, serve, engine):
    server = serve(in_turn(failed(429, "slow down", retry_after=asked_for), good))
    llm = engine(server, max_wait_s=0.5)
    llm.identity  # noqa: B018 - the first contact is not timed
    began = time.perf_counter()
    assert ask(llm).count == 2
    waited = time.perf_counter() - began
    least = {"1": 0.5, "0.4": 0.4}.get(asked_for, 0.0)
    assert least <= waited < least + 0.4


def test_one_who_stops_waiting_frees_the_place_and_the_connection(serve, engine):
    server = serve(in_turn(Told(delay=30), good))
    llm = engine(server, concurrency=1)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(llm.ask(ask.messages("n", CAPTION), ask.schema), 0.3)

    llm.identity  # noqa: B018
    asyncio.run(give_up())
    assert ask(llm).count == 2
    assert server.broken == 1


def test_requests_in_flight_are_bounded_over_threads_loops_and_engines(serve, engine):
    from concurrent.futures import ThreadPoolExecutor

    async def slowly(asked):
        await asyncio.sleep(0.05)
        return good(asked)

    server = serve(slowly)
    one, other = engine(server, concurrency=4), engine(server, concurrency=2, seed=1)

    def batch(n):
        async def many():
            llm = one if n % 2 else other
            return await asyncio.gather(*(llm.ask(ask.messages(f"{n} {k}", CAPTION), ask.schema) for k in range(6)))

        return asyncio.run(many())

    with ThreadPoolExecutor(6) as pool:
        replies = [r for batch_of in pool.map(batch, range(6)) for r in batch_of]
    assert [r.nonce for r in replies] == [f"{n} {k}" for n in range(6) for k in range(6)]
    assert server.most == 4


def test_the_breaker_stops_everything_after_so_many_lost_in_a_row(serve, engine):
    answers = [failed(500, "oops")] * 2 + [good] + [failed(500, "no \x1b[31m disk\nleft")]
    server = serve(in_turn(*answers))
    llm = engine(server, retries=0, breaker_after=3)
    for n in range(2):
        with pytest.raises(InfrastructureError):
            ask(llm, str(n))
    assert ask(llm, "well").count == 2  # a success starts the count anew
    ends = []
    for n in range(5):
        with pytest.raises(InfrastructureError) as caught:
            ask(llm, f"after {n}")
        ends.append(caught.value)
    assert [isinstance(e, StopRun) for e in ends] == [False, False, True, True, True]
    assert len(server.asked) == 6
    message = str(ends[-1])
    assert "3 requests in a row failed" in message and "HTTP 500: no" in message and server.url in message
    assert "run the same again" in message and message.isprintable()


def test_requests_under_way_end_with_the_breaker_instead_of_their_own_tries(serve, engine):
    server = serve(in_turn(failed(500)))
    llm = engine(server, retries=3, breaker_after=2, concurrency=16)

    async def many():
        asks = (llm.ask(ask.messages(str(n), CAPTION), ask.schema) for n in range(40))
        return await asyncio.gather(*asks, return_exceptions=True)

    ends = asyncio.run(many())
    assert all(isinstance(e, InfrastructureError) for e in ends)
    assert sum(isinstance(e, StopRun) for e in ends) >= 39
    assert len(server.asked) <= 20 * 4


def test_after_a_rest_one_trial_closes_the_breaker(serve, engine, monkeypatch):
    from tasks.engines.served import patience

    monkeypatch.setattr(patience, "REST_S", 0.3)
    server = serve(in_turn(failed(500), good))
    llm = engine(server, retries=0, breaker_after=1)
    for _ in range(2):
        with pytest.raises(StopRun):
            ask(llm)
    time.sleep(0.35)
    assert ask(llm).count == 2


def test_a_server_that_came_back_with_another_model_stops_the_run(serve, engine):
    """Replies of two models must not go into one dataset."""
    server = serve(in_turn(good, Told(drop="before"), good))
    llm = engine(server, model="tiny")
    assert ask(llm, "before").count == 2
    server.models = [{"id": "tiny", "root": "org/another", "created": 2}]
    with pytest.raises(StopRun, match=r"serves another model.*org/tiny.*org/another"):
        ask(llm, "after")
    assert len(server.asked) == 2


def test_a_server_that_came_back_the_same_is_gone_on_with(serve, engine):
    server = serve(in_turn(good, Told(drop="before"), good))
    llm = engine(server)
    assert ask(llm, "before").count == 2
    server.models = [{"id": "tiny", "root": "org/tiny", "created": 99}]  # started anew
    assert ask(llm, "after").count == 2


def test_the_body_is_the_same_bytes_for_the_same_question(serve, engine, home):
    server, other = serve(), serve()
    ask(engine(server))
    ask(engine(other, at=home.below("other")))
    assert server.asked[0].raw == other.asked[0].raw
    sent = json.loads(server.asked[0].raw)
    assert {k: sent[k] for k in ("model", "temperature", "seed", "max_tokens")} == {
        "model": "tiny", "temperature": 0.0, "seed": 0, "max_tokens": 4096,
    }  # fmt: skip
    assert sent["response_format"]["json_schema"]["strict"] is True
