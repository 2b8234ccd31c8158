"""Faults that Prefect is known for, each against a real server on PostgreSQL and Redis.

The cadence of lease renewals is made faster, since Prefect renews after minutes; server, leases and clock are real.
"""

import time
import uuid

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.concurrency import _leases
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from redis import Redis

from benchmarks.setting.production import process_worker
from flows.server import limits

pytestmark = pytest.mark.production

LEASES = "prefect:concurrency:expirations"


@pytest.fixture
def client(split):
    with temporary_settings({PREFECT_API_URL: split["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def leases(cache):
    """The server's leases with the moment each ends."""
    with Redis(port=cache) as redis:
        redis.delete(LEASES)
        yield redis


def active(client, name):
    return client.read_global_concurrency_limit_by_name(name).active_slots


def test_a_lease_is_renewed_while_python_counts_and_lies_in_redis(client, leases, monkeypatch):
    monkeypatch.setattr(_leases, "_RENEWAL_FRACTION", 0.003)  # of 300 s
    limits.put(client, {"track": 1})
    with limits.slot("track", {"track": 1}):
        ((lease, until),) = leases.zrange(LEASES, 0, -1, withscores=True)
        counted, deadline = 0, time.monotonic() + 6
        while time.monotonic() < deadline:  # holds the interpreter lock as much as Python code can
            counted += sum(range(10_000))
        ((same, later),) = leases.zrange(LEASES, 0, -1, withscores=True)
        assert same == lease and later - until > 3
    assert active(client, "matrix-track") == 0
    assert leases.zcard(LEASES) == 0, "no lease is left behind"


def test_a_lease_that_the_server_lost_ends_no_work_and_is_told(client, leases, monkeypatch):
    monkeypatch.setattr(_leases, "_RENEWAL_FRACTION", 0.001)
    monkeypatch.setattr(_leases, "_RENEWAL_RETRY_BASE_DELAY", 0.1)
    limits.put(client, {"propose": 1})
    done = []

    @flow
    def works_on() -> None:
        with limits.slot("propose", {"propose": 1}):
            ((lease, _),) = leases.zrange(LEASES, 0, -1, withscores=True)
            leases.delete(f"prefect:concurrency:lease:{lease.decode()}")  # as a restart with leases in memory does
            leases.zrem(LEASES, lease)
            time.sleep(4)
            done.append(True)

    run = works_on(return_state=True)
    assert done == [True] and run.is_completed()
    told = []
    deadline = time.monotonic() + 30
    while not told and time.monotonic() < deadline:
        by_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.state_details.flow_run_id]))
        told = [line.message for line in client.read_logs(log_filter=by_run) if "lease renewal failed" in line.message]
        time.sleep(0.5)
    assert told and "410" in told[0] and "Execution will continue" in told[0]


def test_a_lease_can_be_asked_for_a_day_at_most_and_ours_need_no_more(client):
    limits.put(client, {"verify": 1})
    with pytest.raises(Exception, match="422"):
        client.increment_concurrency_slots_with_lease(["matrix-verify"], 1, mode="concurrency", lease_duration=86_401)
    with limits.slot("verify", {"verify": 1}):
        assert active(client, "matrix-verify") == 1


RETRIES = """
import time
from pathlib import Path
from prefect import flow
from prefect.concurrency import _leases

_leases._RENEWAL_FRACTION = 0.003  # of 300 s

@flow(retries=1, retry_delay_seconds=8)
def retries(folder: str):
    tried = Path(folder, "tried")
    if not tried.exists():
        tried.touch()
        raise OSError("the world is down")
"""


def test_a_retry_under_a_deployments_limit_keeps_its_slot_and_its_lease_and_runs(client, split, leases, tmp_path):
    """However long it waits: a lease that is not renewed meanwhile would be over after five minutes."""
    (tmp_path / "retries.py").write_text(RETRIES)
    pool = f"retries-{uuid.uuid4().hex[:6]}"
    with process_worker(split, tmp_path, pool):
        given = flow.from_source(source=str(tmp_path), entrypoint="retries.py:retries")
        limit = ConcurrencyLimitConfig(limit=1, collision_strategy="CANCEL_NEW")
        deployment = given.deploy("r", work_pool_name=pool, concurrency_limit=limit, print_next_steps=False)
        name = f"deployment:{deployment}"
        run = run_deployment("retries/r", parameters={"folder": str(tmp_path)}, timeout=0)
        states, slots, ends, deadline = [], set(), [], time.monotonic() + 120
        while not states or (not states[-1][1] and time.monotonic() < deadline):
            state = client.read_flow_run(run.id).state
            if not states or states[-1][0] != state.name:
                states.append((state.name, state.is_final()))
            if state.name == "AwaitingRetry":
                slots.add(active(client, name))
                ends += [until for _, until in leases.zrange(LEASES, 0, -1, withscores=True)]
            time.sleep(0.3)
        assert [name for name, _ in states][-1] == "Completed", states
        assert "AwaitingRetry" in [name for name, _ in states] and slots == {1}, "the slot is kept meanwhile"
        assert max(ends) > min(ends) + 2, "and renewed"
        deadline = time.monotonic() + 10
        while active(client, name) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert active(client, name) == 0


LIMITED = """
import time
from pathlib import Path
from prefect import flow
from prefect.concurrency import _leases

_leases._RENEWAL_FRACTION, _leases._RENEWAL_RETRY_BASE_DELAY = 0.003, 0.1

@flow
def limited(folder: str):
    Path(folder, "at-work").touch()
    for _ in range(100):
        time.sleep(0.5)
"""


def test_a_run_under_a_deployments_limit_does_not_outlive_its_lease(client, split, leases, tmp_path):
    """Prefect gives no way to say otherwise, so such a deployment wants leases that outlive the server's process."""
    (tmp_path / "limited.py").write_text(LIMITED)
    pool = f"limited-{uuid.uuid4().hex[:6]}"
    with process_worker(split, tmp_path, pool):
        given = flow.from_source(source=str(tmp_path), entrypoint="limited.py:limited")
        given.deploy("l", work_pool_name=pool, concurrency_limit=1, print_next_steps=False)
        run = run_deployment("limited/l", parameters={"folder": str(tmp_path)}, timeout=0)
        deadline = time.monotonic() + 120
        while not (tmp_path / "at-work").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        ((lease, _),) = leases.zrange(LEASES, 0, -1, withscores=True)
        leases.delete(f"prefect:concurrency:lease:{lease.decode()}")
        leases.zrem(LEASES, lease)
        while not (state := client.read_flow_run(run.id).state).is_final() and time.monotonic() < deadline:
            time.sleep(0.3)
    assert state.name == "Crashed", state
