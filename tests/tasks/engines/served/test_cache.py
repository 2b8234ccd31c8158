"""Replies on disk: asked once, keyed by the whole request, whole or a miss, never a bad one, never the key."""

import asyncio
import json
import sqlite3
import uuid
from contextlib import closing

import numpy as np
import pytest

from schemas import Box, Instance
from tasks.caption.stage import CaptionSettings, caption
from tasks.engines.base import BadReply, Message, VerifyRequest
from tasks.engines.metering import metered
from tasks.engines.replies import CountReply
from tasks.engines.served.cache import keeping
from tasks.engines.served.language import ServedLanguage
from tasks.engines.served.verifier import ServedVerifier
from tasks.store.database import LIVE, Database
from tasks.store.folder import Folder
from tests.tasks.caption.captioning import CAPTION, make_case
from tests.tasks.engines.served.asking import ask
from tests.tasks.engines.served.conftest import in_turn
from tests.tasks.engines.served.fault_server import failed, good, said


def stored(home):
    """What is kept, by key."""
    if not home.exists(LIVE):
        return {}
    with closing(sqlite3.connect(home.path(LIVE))) as db:
        return dict(db.execute("SELECT key, value FROM kept"))


def put(home, key, value):
    with closing(sqlite3.connect(home.path(LIVE), isolation_level=None)) as db:
        db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, value))


def test_a_second_build_costs_no_token_and_says_the_same(serve, engine):
    """The whole stage, in a new engine over the same folder, as another process would have it."""
    server = serve()
    cases = [make_case(n, CAPTION) for n in range(1, 9)]
    prices = {"price_per_million_prompt": 2.0, "price_per_million_completion": 10.0}
    first = list(caption(cases, engine(server, **prices), None, CaptionSettings()))
    asked = len(server.asked)
    again = list(caption(cases, engine(server, **prices), None, CaptionSettings()))
    assert asked == 8 * 5 and len(server.asked) == asked
    assert [r.payload for r in again] == [r.payload for r in first]
    paid, saved = first[0].usage, again[0].usage
    assert (paid.requests, paid.prompt_tokens, paid.completion_tokens, paid.cached_requests) == (5, 500, 100, 0)
    assert paid.cost == pytest.approx(500 * 2e-6 + 100 * 1e-5)
    assert (saved.requests, saved.prompt_tokens, saved.completion_tokens) == (5, 500, 100)
    assert (saved.cached_requests, saved.cached_tokens, saved.cost) == (5, 600, 0.0)


def test_a_clip_that_met_a_dead_server_goes_on_where_it_was(serve, engine):
    """Two of five answers came before the server died: the next run asks the other three only."""
    server = serve(in_turn(good, good, failed(500)))
    case = [make_case(1, CAPTION)]
    with pytest.raises(Exception, match="HTTP 500"):
        list(caption(case, engine(server, retries=0), None, CaptionSettings()))
    lost = len(server.asked)
    server.answer = good
    (row,) = caption(case, engine(server), None, CaptionSettings())
    assert row.payload and row.usage.cached_requests == 2
    assert len(server.asked) - lost == 3


OTHERS = {
    "temperature": {"temperature": 0.5},
    "seed": {"seed": 1},
    "max_tokens": {"max_tokens": 100},
    "structured": {"structured": "none"},
    "extra body": {"extra_body": {"top_k": 1}},
}
SAMES = {
    "time-outs": {"timeout_s": 9, "connect_timeout_s": 9, "max_wait_s": 1},
    "tries": {"retries": 0, "breaker_after": 1},
    "concurrency": {"concurrency": 3},
    "prices": {"price_per_million_prompt": 5},
    "bounds": {"max_reply_bytes": 9999},
    "the name spelt out": {"model": "tiny"},
}


@pytest.mark.parametrize(
    ("options", "hit"), [(o, False) for o in OTHERS.values()] + [(o, True) for o in SAMES.values()]
)
def test_what_changes_replies_is_in_identity_and_key_and_nothing_else_is(options, hit, serve, engine):
    server = serve()
    first, other = engine(server), engine(server, **options)
    ask(first)
    ask(other)
    assert len(server.asked) == (1 if hit else 2)
    assert (first.identity == other.identity) is hit


def test_message_schema_and_model_are_in_the_key(serve, engine):
    server = serve()
    llm = engine(server)
    ask(llm, "a")
    ask(llm, "b")
    ask(llm, "a", CAPTION + " ")
    assert len(server.asked) == 3
    server.models = [{"id": "tiny", "root": "org/tiny-2", "created": 1}]
    ask(engine(server), "a")
    assert len(server.asked) == 4
    server.models = [{"id": "tiny", "root": "org/tiny", "created": 777}]
    ask(engine(server), "a")
    assert len(server.asked) == 4


def test_every_pixel_is_in_the_key(serve, engine):
    server = serve()
    verifier = engine(server, ServedVerifier)
    frame = np.zeros((64, 64, 3), np.uint8)
    who = Instance(id="id1", cls="man", noun="man", app="", spatial="")

    def look(picture):
        request = VerifyRequest(picture, picture[:40, :40], Box(x0=0, y0=0, x1=40, y1=40), "man", (who,))
        return asyncio.run(verifier.verify(request))

    look(frame)
    look(frame)
    assert len(server.asked) == 1
    other = frame.copy()
    other[60, 60] = 255
    look(other)
    assert len(server.asked) == 2


def test_a_bad_reply_is_not_kept(serve, engine, home):
    server = serve(in_turn(said("{}"), said('{"nonce": "x'), good))
    llm = engine(server)
    for _ in range(2):
        with pytest.raises(BadReply):
            ask(llm)
    assert stored(home) == {}
    assert ask(llm).count == 2
    assert ask(llm).count == 2
    assert len(server.asked) == 3 and len(stored(home)) == 1


def test_a_reply_of_the_right_form_that_the_stage_refused_is_asked_again_next_time(serve, engine, home):
    """It came back with another nonce, or it makes no sense: only the stage can say so."""
    foreign = said('{"nonce": "another", "count": 1}')
    nobody = said(json.dumps({"nonce": "", "entities": [], "triplets": []}))

    def answer(asked):
        if asked.turn == "count" and asked.number < 1:
            return foreign
        if asked.turn == "triplets" and "problem" not in asked.document:
            doc = json.loads(json.loads(nobody.body)["choices"][0]["message"]["content"])
            return said(json.dumps(doc | {"nonce": asked.document["nonce"]}))
        return good(asked)

    server = serve(answer)
    case = [make_case(1, CAPTION)]
    (row,) = caption(case, engine(server), None, CaptionSettings())
    assert row.payload and row.usage.requests == 7
    assert len(stored(home)) == 5
    (again,) = caption(case, engine(server), None, CaptionSettings())
    assert again.payload == row.payload
    first_asks = [a for a in server.asked[7:] if "problem" not in a.document]
    assert [a.turn for a in first_asks] == ["count", "triplets"]  # and the good ones came from disk


DAMAGE = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "noise": lambda data: bytes(255 - b for b in data),
    "another count": lambda data: data.replace(b'\\"count\\": 2', b'\\"count\\": 7'),
    "other tokens": lambda data: data.replace(b'"prompt_tokens":100', b'"prompt_tokens":1'),
    "another key": lambda data: data.replace(b'"key":"', b'"key":"0')[:-1],
    "one field more": lambda data: data.replace(b"{", b'{"x":1,', 1),
    "deep": lambda data: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_a_miss_and_is_mended(damage, serve, engine, home):
    server = serve()
    llm = engine(server)
    ask(llm)
    ((key, whole),) = stored(home).items()
    assert damage(whole) != whole
    put(home, key, damage(whole))
    assert ask(llm).count == 2
    assert len(server.asked) == 2
    assert stored(home) == {key: whole}


def test_an_entry_under_another_name_is_a_miss(serve, engine, home):
    """Copied about, it is another question's answer."""
    server = serve()
    llm = engine(server)
    ask(llm, "a")
    ((key, reply),) = stored(home).items()
    ask(llm, "b")
    (other,) = stored(home).keys() - {key}
    put(home, other, reply)
    assert ask(llm, "b").nonce == "b"
    assert len(server.asked) == 3


def test_replies_go_where_the_work_under_way_keeps_them(serve, engine, home, tmp_path):
    """An engine serves all chunks of a process; what is asked in threads and loops below is kept with its chunk."""
    server = serve()
    llm = engine(server)
    case = [make_case(1, CAPTION)]
    chunks = [Database(Folder(str(tmp_path / name))) for name in ("00000", "00001", "00000")]
    for chunk in chunks:
        with keeping(chunk):
            list(caption(case, llm, None, CaptionSettings()))
        chunk.close()
    assert len(server.asked) == 2 * 5  # and the third found all
    assert [len(stored(Folder(str(tmp_path / name)))) for name in ("00000", "00001")] == [5, 5]
    assert stored(home) == {}


def test_object_stores_hold_replies_too(serve):
    home = Folder(f"memory://{uuid.uuid4().hex}/replies")
    server = serve()
    for _ in range(2):
        llm = ServedLanguage(ServedLanguage.Options(base_url=server.url), home)
        assert ask(llm).count == 2
        llm.close()
    assert len(server.asked) == 1
    asyncio.run(llm.forget(ask.messages(), CountReply))
    asyncio.run(llm.forget(ask.messages(), CountReply))  # absent is fine
    assert ask(llm).count == 2
    assert len(server.asked) == 2
    llm.close()


def test_a_reply_from_disk_needs_no_server_beyond_its_list_of_models(serve, engine):
    server = serve()
    llm = engine(server)
    ask(llm)
    server.answer = in_turn(failed(500))
    with metered() as meter:
        assert ask(llm).count == 2
    assert meter.usage.cached_requests == 1


def test_images_do_not_count_as_equal_messages_by_mistake(serve, engine):
    """`Message` compares without its images; the cache must not."""
    server = serve(lambda _: said('{"nonce": "n", "count": 1}'))
    llm = engine(server)
    for value in (0, 255, 0):
        picture = np.full((8, 8, 3), value, np.uint8)
        asyncio.run(llm.ask([Message("user", "{}", (picture,))], CountReply))
    assert len(server.asked) == 2
