"""How long the run of a chunk is waited for, and which pool takes which stages. Over real pools: tests/production."""

import uuid
from functools import partial

import pytest
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling, Pending, Running, Scheduled

from flows.server import pools
from flows.server.pools import _by_pool, _Way
from flows.settings import BuildSettings, RunSettings
from tasks.store.folder import Folder
from tasks.store.lease import Watch, lease

PLACE = "caption/abc/00000"


@pytest.fixture
def work(tmp_path):
    return Folder(str(tmp_path / "work"))


@pytest.fixture
def way(monkeypatch):
    for name in ("BEGIN_S", "DONE_S", "DEAD_S", "LOOK_S"):
        monkeypatch.setattr(pools, name, 0.0)
    return _Way("00000", run=uuid.uuid4())


def ended_as(way, work, state, done=False):
    """What becomes of a run that has been in this state for a moment."""
    watch = partial(Watch, work, PLACE)
    way._seen = (way.run, state.type, done)
    way._lease = way._lease or watch()
    found = way.overdue(state, done, watch)
    return found.type if found else None


def test_a_run_is_waited_for_as_long_as_somebody_holds_its_chunk(way, work):
    with lease(work, PLACE) as mine:
        assert mine
        assert ended_as(way, work, Running()) is None
        assert ended_as(way, work, Cancelling()) is None
    assert ended_as(way, work, Running()) is StateType.CRASHED
    assert ended_as(way, work, Cancelling()) is StateType.CANCELLED
    assert ended_as(way, work, Scheduled()) is None, "it waits for a worker, however long"


def test_a_run_that_does_not_begin_and_one_that_has_done_all_are_ended(way, work):
    assert ended_as(way, work, Pending()) is StateType.CRASHED
    with lease(work, PLACE):
        assert ended_as(way, work, Running(), done=True) is StateType.COMPLETED


def test_a_state_that_is_new_begins_the_wait_anew(way, work):
    watch = partial(Watch, work, PLACE)
    way._since = way._looked = -1e9
    for state in (Pending(), Running()):
        pools.BEGIN_S = pools.LOOK_S = 60.0
        assert way.overdue(state, False, watch) is None


def test_a_run_that_crashed_is_begun_once_more_and_then_the_next_leg(way):
    steps = []
    for crashed in (True, True, False, True, False):
        way.ended(crashed)
        steps.append((way.leg, way.tried))
        assert way.run is None
    assert steps == [(0, 1), (1, 0), (2, 0), (2, 1), (3, 0)]


def test_a_stage_without_a_pool_goes_with_the_one_before_it():
    def cut(pools, stages="caption propose verify track curate review shard"):
        run = RunSettings(pools=pools)
        return list(_by_pool(BuildSettings(source="raw", out="out", run=run), stages.split()))

    assert cut({"caption": "cpu", "propose": "gpu", "verify": "cpu", "track": "gpu"}) == [
        ("cpu", ["caption"]), ("gpu", ["propose"]), ("cpu", ["verify"]),
        ("gpu", ["track", "curate", "review", "shard"]),
    ]  # fmt: skip
    assert cut({"track": "gpu"}) == [("gpu", ["caption", "propose", "verify", "track", "curate", "review", "shard"])]
