"""Reviewing over HTTP: claim, decide, mend, undo, finish; two people; the tracker asked again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from tasks.errors import InfrastructureError
from tasks.media.clips import decode_mask, encode_mask
from tests.web.places import Place
from web.propagate import Job


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("review"), clips=6)
    yield made
    made.journal.close()


@pytest.fixture(scope="module")
def ann(place):
    return place.person("ann")


@pytest.fixture(scope="module")
def bob(place):
    return place.person("bob")


def test_the_queue_shows_doubt_first_and_filters(ann, place):
    page = ann.client.get("/").text
    assert page.count("/clip/") == 6 and "6 clips" in page
    verb = ann.see(place.keys[0])["acts"][0]["verb"]
    some = ann.client.get("/", params={"verb": verb, "need": "first"}).text
    assert 1 <= some.count("/clip/") < 6
    assert ann.client.get("/", params={"reason": "drift"}).text.count("/clip/") == 0
    for rating in ("contact", "dynamism"):
        high = [key for key in place.keys if max(act[rating] for act in ann.see(key)["acts"]) == 5]
        some = ann.client.get("/", params={rating: 5}).text
        assert 0 < len(high) < 6 and [f"/clip/{key}" in some for key in place.keys] == [k in high for k in place.keys]


def test_a_clip_comes_with_its_words_masks_curves_and_ten_frames(ann, place):
    key = place.keys[0]
    found = ann.see(key)
    shown = place.shown(key)
    assert "".join(p["text"] for p in found["caption"]).startswith("A ")
    assert {(p["role"], p["id"]) for p in found["caption"]} >= {("subject", "id1"), ("verb", ""), ("object", "id2")}
    assert found["shown"][0] == 1 and found["shown"][-1] == 8 and found["frames"] == 9
    track = found["tracks"][0]
    assert track["masks"] == list(shown.masks["id1"])
    area = decode_mask(track["masks"][2], *shown.size).mean()
    assert track["curves"]["area"][2] == pytest.approx(area, abs=1e-4) and track["curves"]["leap"][0] == 0
    assert ann.client.get(f"/strip/{key}.jpg").content.startswith(b"\xff\xd8")
    part = ann.client.get(f"/media/{key}.mp4", headers={"range": "bytes=4-11"})
    assert part.status_code == 206 and part.content == b"ftypisom"


def test_accept_all_and_finish_leads_to_the_next(ann, place):
    first = ann.client.get("/next").headers["location"].removeprefix("/clip/")
    assert place.journal.claims() == {first: "ann"}, "so that no two are led to one"
    assert ann.judge(first).json()["finished"]
    following = ann.client.get(f"/next?after={first}").headers["location"].removeprefix("/clip/")
    assert following in place.keys and following != first
    assert place.journal.claims() == {following: "ann"}
    ann.post(f"/api/clip/{following}/release")


def test_who_has_filtered_the_queue_stays_among_those_clips(ann, place):
    page = ann.client.get("/?order=name&contact=1&need=").text
    assert f"/clip/{sorted(place.keys)[0]}?contact=1&amp;order=name" in page
    there = ann.client.get("/next?contact=1&order=name").headers["location"]
    assert there.endswith("?contact=1&order=name")
    ann.post(f"/api{there.partition('?')[0]}/release")
    assert ann.client.get("/next?verb=nowhere%26%22done").headers["location"] == "/?verb=nowhere%26%22done"


def test_a_clip_is_not_done_before_every_track_has_an_end(ann, place):
    key = place.keys[1]
    ann.claim(key)
    refused = ann.patch(key, {"op": "finish"})
    assert refused.status_code == 422 and "id1 has no decision" in refused.json()["detail"]


def test_what_is_undone_is_undone_and_stays_on_record(ann, place):
    key = place.keys[2]
    ann.claim(key)
    ann.patch(key, {"op": "decide", "id": "id1", "decision": "accept"})
    ann.patch(key, {"op": "decide", "id": "id1", "decision": "drop", "reason": "swap"})
    back = ann.patch(key, {"op": "undo"}).json()
    assert back["tracks"][0]["decision"] == "accept" and back["redo"]
    assert ann.patch(key, {"op": "redo"}).json()["tracks"][0]["reason"] == "swap"
    trail = place.journal.trail(key)
    assert [(p.op.op, p.was) for p in reversed(trail)] == [
        ("decide", ""), ("decide", "accept"), ("undo", ""), ("redo", ""),
    ]  # fmt: skip


def test_masks_are_painted_swapped_and_cut(ann, place):
    key = place.keys[3]
    shown = place.shown(key)
    ann.claim(key)
    mask = np.zeros(shown.size, bool)
    mask[5:20, 5:30] = True
    paint = {"op": "paint", "id": "id1", "frame": 2, "masks": [encode_mask(mask)]}
    found = ann.patch(key, paint).json()
    assert found["tracks"][0]["masks"][2] == encode_mask(mask) and found["tracks"][0]["locked"] == [2]
    assert found["tracks"][0]["mended"] and not found["tracks"][1]["mended"]
    found = ann.patch(key, {"op": "swap", "id": "id1", "other": "id2", "frame": 5}).json()
    assert found["tracks"][0]["masks"][5:] == list(shown.masks["id2"][5:])
    found = ann.patch(key, {"op": "give", "id": "id2", "to": None, "frame": 7}).json()
    assert found["tracks"][1]["masks"][7:] == [None, None]
    refused = ann.patch(key, paint | {"masks": ["]]]]"]})
    assert refused.status_code == 422 and "run lengths" in refused.json()["detail"]


def test_a_triplet_is_edited_and_its_spans_are_found_again(ann, place):
    key = place.keys[4]
    ann.claim(key)
    act = ann.see(key)["acts"][0]
    change = {"op": "act", "text": act["text"], "subject": "id1", "verb": act["verb"], "object": "id2", "contact": 1}
    found = ann.patch(key, change).json()
    assert found["acts"][0]["contact"] == 1
    refused = ann.patch(key, change | {"verb": "juggles"})
    assert refused.status_code == 422 and "caption does not say so" in refused.json()["detail"]
    assert len(ann.patch(key, {"op": "act", "text": found["acts"][0]["text"], "remove": True}).json()["acts"]) == 1
    assert len(ann.patch(key, {"op": "undo"}).json()["acts"]) == 2


def test_two_people_at_one_clip(ann, bob, place):
    key = place.keys[5]
    assert ann.claim(key).status_code == 200
    late = bob.claim(key)
    assert late.status_code == 409 and late.json()["detail"] == "ann is at this clip"
    forged = bob.patch(key, {"op": "decide", "id": "id1", "decision": "drop", "reason": "drift"})
    assert forged.status_code == 409 and place.journal.patches(key) == {}
    stale = ann.patch(key, {"op": "decide", "id": "id1", "decision": "accept"}, seen=3)
    assert stale.status_code == 409 and "another window" in stale.json()["detail"]
    ann.post(f"/api/clip/{key}/release")
    assert bob.claim(key).status_code == 200
    bob.post(f"/api/clip/{key}/release")


def test_the_tracker_goes_on_until_a_locked_frame_and_can_be_let_go(ann, place):
    key = place.keys[5]
    ann.claim(key)
    masks = ann.see(key)["tracks"][0]["masks"]
    ann.patch(key, {"op": "paint", "id": "id1", "frame": 5, "masks": [masks[4]]})
    assert ann.post(f"/api/clip/{key}/propagate", {"id": "id1", "frame": 2}).json() == {"until": 5}
    deadline = time.monotonic() + 60
    while (found := ann.client.get(f"/api/clip/{key}/propagate").json())["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert found["state"] == "done" and (found["frame"], len(found["masks"])) == (3, 2)
    done = ann.patch(key, {"op": "paint", "id": "id1", "frame": 3, "masks": found["masks"], "by_hand": False}).json()
    assert done["tracks"][0]["masks"][5] == masks[4] and done["tracks"][0]["locked"] == [5]
    ann.post(f"/api/clip/{key}/propagate", {"id": "id1", "frame": 5})
    ann.post(f"/api/clip/{key}/cancel")
    assert ann.client.get(f"/api/clip/{key}/propagate").json() == {"state": "none"}


@pytest.mark.parametrize("error", [InfrastructureError("the GPU is full"), RuntimeError("CUDA error: \n an assert")])
def test_a_tracker_that_fails_says_so(ann, place, monkeypatch, caplog, error):
    class Failing:
        def propagate(self, frames, anchors):
            raise error

    monkeypatch.setattr("web.review._tracker", lambda build: Failing)
    key = place.keys[5]
    ann.claim(key)
    ann.post(f"/api/clip/{key}/propagate", {"id": "id2", "frame": 2})
    deadline = time.monotonic() + 60
    while (found := ann.client.get(f"/api/clip/{key}/propagate").json())["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found == {"state": "failed", "why": f"the tracker failed: {' '.join(str(error).split())}"}
    assert str(error) in caplog.text and "Traceback" in caplog.text


def test_of_two_that_ask_for_what_the_tracker_gave_one_gets_it(ann, place, monkeypatch):
    together = threading.Barrier(2, timeout=60)

    class Meeting(threading.Event):
        """Both have seen that it is done before either goes on."""

        def is_set(self) -> bool:
            self.wait(60)
            together.wait()
            return super().is_set()

    monkeypatch.setattr("web.review.Job", partial(Job, done=Meeting()))
    key = place.keys[5]
    ann.claim(key)
    ann.post(f"/api/clip/{key}/propagate", {"id": "id2", "frame": 2})
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ann.client.get, f"/api/clip/{key}/propagate") for _ in range(2)]
    assert sorted(one.result().json()["state"] for one in asked) == ["done", "none"]


def test_a_second_person_a_dispute_and_kappa(tmp_path):
    place = Place(tmp_path, clips=3, second_share=1.0)
    ann, bob, root = place.person("ann"), place.person("bob"), place.person("root", "admin")
    assert "0 %" not in ann.client.get("/people").text, "a dash where nothing is known"
    for key in place.keys:
        ann.judge(key)
    assert "All clips are decided" not in ann.client.get("/").text
    assert ann.client.get("/next").headers["location"] == "/?need=first", "nobody is second to himself"
    seen = bob.see(place.keys[0])
    assert {t["decision"] for t in seen["tracks"]} == {None}, "the second does not see what the first said"
    bob.judge(place.keys[0])
    bob.judge(place.keys[1], id2="drop")
    assert bob.client.get("/", params={"need": "third"}).text.count("/clip/") == 1
    assert root.client.get("/next").headers["location"].removeprefix("/clip/") in place.keys[1:]
    root.judge(place.keys[1], id2="drop")
    assert root.client.get("/", params={"need": "nobody"}).text.count("/clip/") == 2
    people = root.client.get("/people").text
    assert "ann" in people and "0: waits for a third" in people and "83 %" in people, "five of six tracks"
    assert "drop" in root.client.get("/trail").text and ann.client.get("/trail").status_code == 403
    place.journal.close()
