"""Batches as task runs on a real server: their names, their retries, and the tags that a limit needs."""

import threading
import time

import cloudpickle
import httpx
import pytest
from prefect import flow
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from benchmarks.setting.rows import CHAIN, fill, key_of, payload_of
from flows import chunk_flow
from flows.chunk import Chunk
from flows.chunk_flow import chunk, tasks_of
from flows.opened import open_build
from flows.settings import BuildSettings, RunSettings
from tasks.errors import InfrastructureError, StopRun, UserError
from tasks.outcome import settle

CLIPS = 6
RUN = RunSettings(batch=4, workers=2, retries=1, retry_delay_s=0)


@pytest.fixture
def api(server):
    with httpx.Client(base_url=server["PREFECT_API_URL"], timeout=30) as client:
        # Logs would still be on their way when the server ends.
        with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"], PREFECT_LOGGING_TO_API_ENABLED: False}):
            yield client


def test_a_flow_goes_to_another_machine_without_what_its_process_holds(monkeypatch):
    """Ray pickles the flow with every task, by value; a lock of this process would end that."""
    monkeypatch.setattr(chunk_flow, "gauges", [threading.RLock()])
    assert cloudpickle.loads(cloudpickle.dumps(chunk)).name == "chunk"
    assert cloudpickle.loads(cloudpickle.dumps(tasks_of(CHAIN, RUN)))


@pytest.mark.usefixtures("api")
def test_tasks_carry_the_builds_retries_and_a_limit_that_the_server_lacks_is_refused():
    tasks = tasks_of(CHAIN, RUN)
    assert list(tasks) == list(CHAIN)
    assert all((task.retries, task.retry_delay_seconds, task.tags) == (1, 0, set()) for task in tasks.values())
    with pytest.raises(UserError, match="no active limit matrix-curate"):
        tasks_of(CHAIN, RUN.model_copy(update={"limits": {"curate": 1}}))
    assert tasks_of(["caption"], RUN.model_copy(update={"limits": {"curate": 1}})), "only of the stages that run"


@pytest.fixture
def build(tmp_path):
    context = open_build(BuildSettings(source=str(tmp_path), out=str(tmp_path / "out"), run=RUN))
    fill(context, CLIPS, stages=())
    return context


KEYS = sorted(key_of("clip", n) for n in range(CLIPS))


def test_each_batch_is_a_named_run_that_is_tried_again_and_the_funnel_grows_meanwhile(api, build, monkeypatch):
    """Every batch meets an infrastructure failure once."""
    met = set()

    def process(self, stage, keys):
        batch = (stage, *keys)
        if batch not in met:
            met.add(batch)
            raise InfrastructureError("server down")
        return (settle(key, lambda: payload_of(stage)) for key in keys)

    monkeypatch.setattr(Chunk, "process", process)
    monkeypatch.setattr("flows.progress.ARTIFACT_EVERY_S", 0.0)
    monkeypatch.setattr("flows.progress.WATCH_EVERY_S", 0.0)
    monkeypatch.setattr("flows.progress.COUNT_SHARE", float("inf"))

    @flow
    def parent():
        chunk(build.settings, list(CHAIN), "00000")
        return str(flow_run.id)

    parent_id = parent()
    assert build.store("curate").accepted() == KEYS
    below = {"flow_runs": {"parent_flow_run_id": {"any_": [parent_id]}}}
    (run,) = api.post("/flow_runs/filter", json=below).json()
    assert run["name"] == "chunk 00000: caption to curate"
    names = {f"{stage}[{n:04d}] {size} clips" for stage in CHAIN for n, size in ((0, 4), (1, 2))}
    mine = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    deadline = time.monotonic() + 30
    done = []
    while len(done) < len(names) and time.monotonic() < deadline:  # the server records them a moment later
        runs = api.post("/task_runs/filter", json=mine).json()
        done = [r for r in runs if r["state_type"] == "COMPLETED"]
        time.sleep(0.1)
    assert {r["name"] for r in done} == names
    assert {r["run_count"] for r in done} == {2}
    of_run = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200}
    artifacts = api.post("/artifacts/filter", json=of_run).json()
    assert len(artifacts) >= 3 and {a["key"] for a in artifacts} == {None}, "the whole funnel stands under its own key"


@pytest.mark.usefixtures("api")
def test_what_every_further_try_would_meet_is_not_tried_again_and_ends_the_run(build, monkeypatch):
    tries = []

    def refuse(self, stage, keys):
        tries.append(stage)
        raise StopRun("the key is refused")

    monkeypatch.setattr(Chunk, "process", refuse)
    with pytest.raises(StopRun, match="the key is refused"):
        chunk(build.settings, list(CHAIN), "00000")
    assert tries == ["caption"] * len(tries) and len(tries) <= RUN.workers  # two batches may be under way
    assert build.store("caption").pending(KEYS) == KEYS


@pytest.mark.usefixtures("api")
def test_a_chunk_that_another_run_works_on_is_left_to_it(build):
    with build.lease("caption", "00000"):
        state = chunk(build.settings, list(CHAIN), "00000", return_state=True)
    assert state.name == "Incomplete" and "caption: chunk 00000 is left to who works on it" in state.message
    assert len(build.store("caption")) == 0
