"""A build and the runs of its chunks on a real server: where they may go, and that they end with one that is killed."""

import uuid

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Crashed, Pending, Running, Scheduled

import flows.deployed
from flows.server.pools import _parent_of, end_chunks
from tasks.errors import UserError
from tasks.stages import STAGES


@pytest.fixture(scope="module")
def client(server):
    with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        yield client


@flow
def over_chunks() -> None:
    """A build."""


@task
def begins_a_run() -> None:
    """What stands for a chunk's run among the build's tasks."""


@flow
def of_a_chunk() -> None:
    """A chunk's run."""


def test_every_deployed_build_has_the_hook():
    for name in ("build", *(spec.name for spec in STAGES if spec.name != "report")):
        found = getattr(flows.deployed, name)
        assert end_chunks in found.on_crashed_hooks and end_chunks in found.on_cancellation_hooks, name


def test_the_runs_of_its_chunks_end_with_it_and_no_others(client):
    client.create_work_pool(WorkPoolCreate(name="left", type="process", base_job_template={}))
    deployment = client.create_deployment(client.create_flow(of_a_chunk), "left", work_pool_name="left")

    def begun(parent, state, on_pool):
        if on_pool:
            run = client.create_flow_run_from_deployment(deployment, state=Scheduled(), parent_task_run_id=parent)
        else:
            run = client.create_flow_run(of_a_chunk, state=Pending(), parent_task_run_id=parent)
        client.set_flow_run_state(run.id, state, force=True)
        return run.id

    def build():
        run = client.create_flow_run(over_chunks, state=Running())
        return run, client.create_task_run(begins_a_run, run.id, "chunk").id

    killed, below = build()
    _, beside = build()
    runs = {
        "waits": begun(below, Scheduled(), True),
        "runs": begun(below, Running(), True),
        "done": begun(below, Completed(), True),
        "inside": begun(below, Running(), False),
        "another's": begun(beside, Running(), True),
    }
    end_chunks(over_chunks, client.read_flow_run(killed.id), Crashed())
    states = {name: client.read_flow_run(run).state.name for name, run in runs.items()}
    assert states == {
        "waits": "Cancelled", "runs": "Cancelling", "done": "Completed", "inside": "Crashed", "another's": "Running",
    }  # fmt: skip
    end_chunks(over_chunks, client.read_flow_run(killed.id), Crashed())  # of a second call nothing comes
    assert client.read_flow_run(runs["runs"]).state.name == "Cancelling"


@flow
def hands_out(pool: str) -> None:
    _parent_of([(pool, ["caption"])])


def test_the_pool_of_the_worker_that_runs_a_build_takes_none_of_its_chunks(client):
    """It takes one run at a time, and would wait for itself."""
    own = f"own-{uuid.uuid4().hex[:6]}"
    client.create_work_pool(WorkPoolCreate(name=own, type="process", base_job_template={}))
    deployment = client.create_deployment(client.create_flow(hands_out), own, work_pool_name=own)
    for pool, told in ((own, f"the pool {own}, whose worker runs this build"), ("no", "no deployment chunk/no")):
        run = client.create_flow_run_from_deployment(deployment, parameters={"pool": pool})
        with pytest.raises(UserError, match=told):
            run_flow(hands_out, flow_run=client.read_flow_run(run.id))
