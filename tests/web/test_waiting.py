"""A build that waits for people goes on by itself, once the review server sees that enough is decided."""

import time

import pytest

from flows.batches import run_batch
from flows.chunk import Chunk
from flows.cli.people import _go_on
from flows.opened import open_build
from tests.web.places import CHUNK, Place
from web.queue import Queue
from web.store import Build
from web.waiting import Watch


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path, clips=3, wait=0.6, frames=5)
    yield made
    made.journal.close()


def review_stage(place: Place) -> None:
    """What a build does that goes on."""
    with place.context.lease("review", CHUNK):
        run_batch(Chunk(place.context, CHUNK), "review", place.keys)


def test_a_build_goes_on_when_the_share_is_reached_and_each_time_that_more_may_pass(place):
    asked: list[str] = []

    def go_on(build: Build) -> str:
        asked.append(build.settings["out"])
        return "it does"

    watch = Watch(Queue(Build(place.out), place.journal), go_on)

    def told() -> str:
        watch.look()
        return watch.told

    ann = place.person("ann")
    assert told() == "a build waits for people: 0 clips are decided on, and it wants 2"
    ann.judge(place.keys[0])
    assert told().startswith("a build waits for people: 1 clips") and not asked
    ann.claim(place.keys[2])
    ann.patch(place.keys[2], {"op": "decide", "id": "id1", "decision": "accept"})
    ann.judge(place.keys[1])
    assert told() == "enough is decided: it does" and asked == [place.out]
    review_stage(place)
    assert told() == "a build waits for the clips that somebody has begun with" and len(asked) == 1
    ann.judge(place.keys[2])
    assert told() == "enough is decided: it does" and len(asked) == 2
    review_stage(place)
    assert told() == "" and len(asked) == 2


def test_the_queue_says_so_and_the_thread_ends_with_the_server(place):
    ann = place.person("ann")
    for key in place.keys:
        ann.judge(key)
    with ann.client:  # as uvicorn does, it begins and ends the app
        deadline = time.monotonic() + 30
        while "enough is decided: build again" not in (page := ann.client.get("/").text):
            assert time.monotonic() < deadline, page
            time.sleep(0.05)
    assert "All clips are decided" in page


def test_without_a_server_of_prefects_the_command_is_told(place, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert _go_on(Build(place.out)) == (
        f"run matrix_data build {place.context.settings.source} --out {place.out} --set review.wait=0.6 "
        "--set review.second_share=0.0"
    )


def test_another_build_in_the_folder_is_told_of(place):
    watch = Watch(Queue(Build(place.out), place.journal), lambda _: pytest.fail("nothing of it is ours"))
    settings = place.context.settings
    open_build(settings.model_copy(update={"review": settings.review.model_copy(update={"wait": 0.1})}))
    watch.look()
    assert "built with other settings since: start this page again" in watch.told
    place.context.folder.remove("build.json")
    watch.look()
    assert watch.told.startswith("no build in ")
