"""The record of decisions: whole or absent, claimed by one, in order."""

import threading

import pytest

from tasks.errors import UserError
from tasks.review.journal import ConflictError, Journal
from tasks.review.patches import Decide
from tasks.store.folder import Folder

CLIP = "a" * 16
YES = Decide(id="id1", decision="accept")


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def journal(tmp_path, clock):
    made = Journal(Folder(str(tmp_path)), now=lambda: clock[0])
    yield made
    made.close()


def test_looking_makes_no_file(journal):
    assert (journal.clips(), journal.state(CLIP), journal.users(), journal.exists) == ([], "", [], False)


def test_one_holds_a_clip_until_the_time_is_out(journal, clock):
    journal.claim(CLIP, "ann", 60)
    with pytest.raises(ConflictError, match="ann is at this clip"):
        journal.claim(CLIP, "bob", 60)
    with pytest.raises(ConflictError, match="ann is at this clip"):
        journal.append(CLIP, "bob", 0, YES, {}, "", 60)
    clock[0] += 50
    journal.append(CLIP, "ann", 0, YES, {}, "", 60)
    clock[0] += 50
    assert journal.claims() == {CLIP: "ann"}, "who works holds on"
    clock[0] += 11
    with pytest.raises(ConflictError, match="run out"):
        journal.append(CLIP, "ann", 1, YES, {}, "", 60)
    journal.claim(CLIP, "bob", 60)
    journal.release(CLIP, "ann")
    assert journal.claims() == {CLIP: "bob"}


def test_a_patch_that_has_not_seen_the_last_one_is_refused(journal):
    journal.claim(CLIP, "ann", 60)
    assert journal.append(CLIP, "ann", 0, YES, {"id1": "x"}, "", 60).seq == 1
    with pytest.raises(ConflictError, match="another window"):
        journal.append(CLIP, "ann", 0, YES, {}, "", 60)
    (patch,) = journal.patches(CLIP)["ann"]
    assert (patch.op, patch.tracks, patch.at) == (YES, {"id1": "x"}, 1000.0)


def test_of_many_writers_at_once_none_is_lost(journal):
    def work(who: int) -> None:
        for n in range(10):
            clip = f"{who * 10 + n:016x}"
            journal.claim(clip, f"u{who}", 60)
            journal.append(clip, f"u{who}", 0, YES, {}, "", 60)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.clips()) == 80 == len(journal.times())


def test_a_token_is_on_record_as_a_hash_only(journal, tmp_path):
    token = journal.invite("ann", "reviewer")
    assert journal.user_of(token).name == "ann" and journal.user_of(token[:-1]) is None
    assert token.encode() not in (tmp_path / "people" / "journal.db").read_bytes()
    assert journal.invite("ann", "admin") != token and journal.user_of(token) is None
    journal.dismiss("ann")
    assert journal.users() == []


def test_a_bucket_is_refused():
    with pytest.raises(UserError, match="SQLite"):
        Journal(Folder("memory://bucket/work"))
