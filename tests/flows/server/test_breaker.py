"""Suspended runs, on a real server: the one that waits for people goes on when it is asked to, and no other."""

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed

from flows.progress import tell_waiting
from flows.server.breaker import DECIDE, go_on, suspend


@pytest.fixture(scope="module")
def client(server):
    with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        yield client


@flow
def waits(out: str, why: str, for_people: bool) -> None:
    if for_people:
        tell_waiting(out, why, "https://reviewers.example/")
        suspend(why, DECIDE)
    suspend(why)


@pytest.fixture(scope="module")
def deployment(client):
    return client.create_deployment(client.create_flow(waits), "waits", entrypoint="waits.py:waits")


def begin(client, deployment, **given):
    """A run of the deployment, as far as this process takes it: to its suspension."""
    run = client.create_flow_run_from_deployment(deployment, parameters=given)
    with pytest.raises(Pause):
        run_flow(waits, flow_run=client.read_flow_run(run.id))
    return client.read_flow_run(run.id)


def test_the_run_that_waits_for_people_goes_on_once(client, deployment):
    assert go_on(client, "/data/out") is None, "no run of it has ever waited"
    run = begin(client, deployment, out="/data/out", why="3 of 3 clips wait for people", for_people=True)
    assert (run.state.name, run.state.is_paused()) == ("Suspended", True)
    assert go_on(client, "/data/other") is None
    for _ in range(2):
        assert go_on(client, "/data/out") == f"flow run {run.name} goes on"
        state = client.read_flow_run(run.id).state
        assert state.is_scheduled() and state.name == "Resuming", "a worker takes it, once"
    with pytest.raises(Pause):
        run_flow(waits, flow_run=client.read_flow_run(run.id))  # as a worker does; too few were decided after all
    assert go_on(client, "/data/out") and client.read_flow_run(run.id).state.is_scheduled()
    client.set_flow_run_state(run.id, Completed(), force=True)
    assert go_on(client, "/data/out") is None


def test_a_run_that_the_breaker_suspended_meanwhile_is_left_to_people(client, deployment):
    run = begin(client, deployment, out="/data/broken", why="clips wait", for_people=True)
    go_on(client, "/data/broken")
    parameters = {"out": "/data/broken", "why": "no GPU is left", "for_people": False}
    with pytest.raises(Pause):
        run_flow(waits, flow_run=client.read_flow_run(run.id), parameters=parameters)
    told = go_on(client, "/data/broken")
    assert told and told.startswith(f"flow run {run.name} is suspended: no GPU is left;")
    assert client.read_flow_run(run.id).state.is_paused()
