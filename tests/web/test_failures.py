"""What a person is told where something beside the pages fails: one line, nothing lost, nothing half done."""

import resource
import shutil
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tasks.media.clips import encode_mask
from tasks.review.journal import JOURNAL_FILE, PEOPLE, ConflictError, Journal
from tasks.review.patches import Decide
from tasks.store.folder import Folder
from tests.builders import make_case, make_dataset
from tests.web.places import Place
from web.explore import create_app
from web.guard import SESSION_S, Sessions
from web.samples import Samples

ACCEPT = {"op": "decide", "id": "id1", "decision": "accept"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.review.database.LOCKED_S", 0.1)
    made = Place(tmp_path, clips=1, frames=5)
    yield made
    made.journal.close()


@pytest.fixture
def ann(place):
    person = place.person("ann")
    person.claim(place.keys[0])
    return person


def journal_of(place: Place) -> Path:
    return Path(place.context.folder.path(PEOPLE)) / JOURNAL_FILE


@contextmanager
def locked(place: Place):
    with sqlite3.connect(journal_of(place), isolation_level=None) as other:
        other.execute("begin immediate")
        yield
        other.execute("rollback")
    other.close()


@contextmanager
def full(place: Place):
    """No file of this process grows: what a disk without room comes to."""
    size = max(path.stat().st_size for path in journal_of(place).parent.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("fault", "says"), [(locked, "locked"), (full, "disk")])
def test_a_patch_that_cannot_be_written_is_told_and_can_be_sent_again(place, ann, fault, says):
    (key,) = place.keys
    with fault(place):
        failed = ann.patch(key, ACCEPT, seen=0)
    assert failed.status_code == 503 and says in failed.json()["detail"], failed.text
    assert place.journal.patches(key) == {}
    assert ann.patch(key, ACCEPT, seen=0).status_code == 200
    assert [patch.seq for patch in place.journal.patches(key)["ann"]] == [1]


def test_a_folder_that_was_removed_takes_no_decision_that_nobody_would_find(place, ann, tmp_path):
    (key,) = place.keys
    shutil.rmtree(place.out)
    for answer in (ann.patch(key, ACCEPT, seen=0), ann.client.get("/"), ann.claim(key)):
        assert answer.status_code == 503 and "start the page again" in answer.json()["detail"], answer.text
    anew = Journal(place.context.folder)  # as the next build's people begin one
    anew.invite("bob", "admin")
    refused = ann.patch(key, ACCEPT, seen=0)
    assert refused.status_code == 503 and "removed or replaced" in refused.json()["detail"]
    assert anew.clips() == []
    anew.close()


def test_a_video_that_is_gone_is_told(place, ann):
    (key,) = place.keys
    place.context.folder.remove(place.cases[key].clip.path)
    assert ann.client.get(f"/media/{key}.mp4").status_code == 404
    assert ann.client.get(f"/strip/{key}.jpg").status_code == 503


def test_masks_that_are_not_of_this_clip_are_refused(place, ann):
    (key,) = place.keys
    small = encode_mask(np.ones((8, 8), bool))
    whole = place.shown(key).masks["id1"][1]
    for masks, what in (
        ([small], "of another size"),
        (["o" * 190_000], "a number that no mask has"),
        (["0" * 200_001], "longer than any mask"),
        ([whole] * 5, "beyond the clip's end"),
        ([whole] * 2001, "too many"),
        ([], "none"),
    ):
        answer = ann.patch(key, {"op": "paint", "id": "id1", "frame": 1, "masks": masks}, seen=0)
        assert answer.status_code == 422, what
    assert place.journal.patches(key) == {}


def test_a_session_ends_after_its_time(place):
    now = [0.0]
    sessions = Sessions(place.journal, now=lambda: now[0])
    cookie = sessions.begin(place.journal.invite("zoe", "reviewer"), "here")
    assert cookie and sessions.name_of(cookie) == "zoe"
    now[0] = SESSION_S + 1
    assert sessions.name_of(cookie) == ""


def test_clocks_that_differ_may_take_a_claim_early_and_lose_nothing(tmp_path):
    """Of two servers at one journal the clock of one is ahead by more than a claim holds."""
    early, late = (Journal(Folder(str(tmp_path)), now=lambda at=at: at) for at in (1000.0, 5000.0))
    clip, yes = "a" * 16, Decide(id="id1", decision="accept")
    early.claim(clip, "ann", 600)
    early.append(clip, "ann", 0, yes, {}, "", 600)
    late.claim(clip, "bob", 600)
    with pytest.raises(ConflictError, match="bob is at this clip"):
        early.append(clip, "ann", 1, yes, {}, "", 600)
    with pytest.raises(ConflictError, match="bob is at this clip"):
        early.claim(clip, "ann", 600)
    late.append(clip, "bob", 0, yes, {}, "", 600)
    assert {who: len(said) for who, said in late.patches(clip).items()} == {"ann": 1, "bob": 1}
    early.close()
    late.close()


def test_a_dataset_that_was_replaced_under_explore_shows_nothing_of_the_other(tmp_path):
    store = Folder(str(tmp_path / "work"))
    first, *others = (make_case(store, seed, frames=5) for seed in range(3))
    folder = make_dataset(tmp_path, [first])
    client = TestClient(create_app([Samples(folder)], ("testserver",)))
    key = first.clip.clip_id
    whole = {path: client.get(path.format(key)).status_code for path in ("/a/api/{}", "/a/media/{}.mp4")}
    assert set(whole.values()) == {200}
    (shard,) = (name for name in folder.names() if name.endswith(".tar"))
    other = make_dataset(tmp_path, others, dest="other")
    (its,) = (name for name in other.names() if name.endswith(".tar"))
    folder.write(shard, other.read(its))
    answer = client.get(f"/a/api/{key}")
    assert answer.status_code == 503 and shard in answer.json()["detail"]
    folder.remove(shard)
    assert client.get(f"/a/api/{key}").status_code == 503
    assert client.get("/").status_code == 200, "the index is in memory"
