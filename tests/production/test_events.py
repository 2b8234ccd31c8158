"""What goes through Redis to Prefect's services: a stage's event, and the end of a run whose worker died."""

import os
import signal
import time
from datetime import timedelta

import httpx
import psutil
import pytest
from prefect import flow, get_client
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending
from prefect.types._datetime import now

from benchmarks.setting.production import process_worker
from flows.server import automations
from flows.server.events import DONE, PENDING, emit_stage_event, key_of
from flows.tally import Tally

pytestmark = pytest.mark.production


@pytest.fixture
def client(split):
    with temporary_settings({PREFECT_API_URL: split["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        yield client


def until(what, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.3)
    return found


def test_a_stage_tells_its_end_with_its_numbers(client, split):
    out = "s3://bucket/out"

    @flow
    def tells() -> None:
        rejected = {"no_anchor": 1}
        track = Tally(stage="track", arrived=5, accepted=3, rejected=rejected, pending=1, seconds=2.5)
        emit_stage_event(out, track, chunk="00001")
        emit_stage_event(out, Tally(stage="curate", arrived=3, accepted=3, rejected={}, pending=0, seconds=0.5))

    run = tells(return_state=True).state_details.flow_run_id
    resource = f"matrix.dataset.{key_of(out)}"
    since = (now("UTC") - timedelta(minutes=5)).isoformat()
    asked = {"filter": {"resource": {"id": [resource]}, "occurred": {"since": since}}}
    with httpx.Client(base_url=split["PREFECT_API_URL"]) as api:
        found = until(lambda: len(got := api.post("/events/filter", json=asked).json()["events"]) == 2 and got)
    by_name = {event["event"]: event for event in found}
    assert set(by_name) == {PENDING, DONE}
    assert by_name[PENDING]["payload"] == {
        "stage": "track", "chunk": "00001", "in": 5, "accepted": 3, "rejected": {"no_anchor": 1}, "pending": 1,
        "seconds": 2.5,
    }  # fmt: skip
    assert by_name[DONE]["resource"]["prefect.resource.name"] == out
    related = {part["prefect.resource.id"] for part in by_name[DONE]["related"]}
    assert {"matrix.stage.curate", f"prefect.flow-run.{run}"} <= related


STAYS = """
import os, time
from pathlib import Path
from prefect import flow

@flow
def stays(folder: str, seconds: float):
    Path(folder, f"{seconds:g}").write_text(str(os.getpid()))
    time.sleep(seconds)
"""


@pytest.mark.long
def test_a_run_whose_worker_died_is_ended_and_no_other(client, split, tmp_path):
    automations.put(client, automations.end_unheard(12))
    (tmp_path / "stays.py").write_text(STAYS)
    try:
        with process_worker(split, tmp_path, "stays") as worker:
            stays = flow.from_source(source=str(tmp_path), entrypoint="stays.py:stays")
            runs = {}
            for name, tags in (("ours", [automations.TAG]), ("anothers", [])):
                stays.deploy(name, work_pool_name="stays", tags=tags, print_next_steps=False)
            for name, deployment, seconds in (
                ("short", "ours", 1),
                ("dies", "ours", 600),
                ("not_ours", "anothers", 601),
            ):
                given = {"folder": str(tmp_path), "seconds": seconds}
                runs[name] = run_deployment(f"stays/{deployment}", parameters=given, timeout=0)
            ours = client.read_deployment_by_name("stays/ours").id
            given = {"folder": str(tmp_path), "seconds": 602}  # of a run that a worker took, and died right then
            taken = client.create_flow_run_from_deployment(ours, parameters=given, state=Pending())
            assert until(lambda: (tmp_path / "600").exists() and (tmp_path / "601").exists())
            assert until(lambda: client.read_flow_run(runs["short"].id).state.is_completed())
            time.sleep(2)  # the heartbeat goes out as the run begins
            flow_runs = [int((tmp_path / name).read_text()) for name in ("600", "601")]
            worker.process.kill()
            for pid in flow_runs:
                os.kill(pid, signal.SIGKILL)
            psutil.wait_procs([psutil.Process(pid) for pid in flow_runs if psutil.pid_exists(pid)], 10)
            began = time.monotonic()
            crashed = until(lambda: client.read_flow_run(runs["dies"].id).state.is_crashed())
            print(f"ended after {time.monotonic() - began:.1f} s")
            assert crashed, client.read_flow_run(runs["dies"].id).state
            assert until(lambda: client.read_flow_run(taken.id).state.is_crashed())
        assert "its worker or machine is gone" in client.read_flow_run(runs["dies"].id).state.message
        time.sleep(8)
        assert client.read_flow_run(runs["short"].id).state.is_completed()
        assert client.read_flow_run(runs["not_ours"].id).state.is_running()
    finally:
        client.delete_automation(automations.found(client).id)
