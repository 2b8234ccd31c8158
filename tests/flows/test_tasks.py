"""Batches as task runs on a real server: their names, their retries, and the tags that a limit needs."""

import time

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from benchmarks.rows import fill, key_of, payload_of
from flows import opened
from flows.build import go, tasks_of
from flows.context import Context
from flows.legs import CHAIN
from flows.progress import Gauge
from flows.settings import BuildSettings, RunSettings
from tasks.errors import InfrastructureError, StopRun
from tasks.outcome import settle
from tasks.store.lock import build_lock

CLIPS = 6
RUN = RunSettings(batch=4, workers=2, retries=1, retry_delay_s=0)


@pytest.fixture
def api(server):
    with httpx.Client(base_url=server["PREFECT_API_URL"], timeout=30) as client:
        # Logs would still be on their way when the server ends.
        with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"], PREFECT_LOGGING_TO_API_ENABLED: False}):
            yield client


@pytest.mark.usefixtures("api")
def test_a_stage_carries_its_tag_only_where_the_server_limits_it():
    with get_client(sync_client=True) as server:  # it asks again where the server's database is busy
        server.create_concurrency_limit("verify", 1)
        try:
            tasks = tasks_of(CHAIN, RUN)
        finally:
            server.delete_concurrency_limit_by_tag("verify")
    assert {stage: task.tags for stage, task in tasks.items()} == {
        "caption": set(),
        "propose": set(),
        "verify": {"verify"},
        "track": set(),
        "curate": set(),
    }
    assert all((task.retries, task.retry_delay_seconds) == (1, 0) for task in tasks.values())


class Faltering(Context):
    """A build in which every batch meets an infrastructure failure once."""

    def __init__(self, settings):
        super().__init__(settings)
        self.met = set()

    def process(self, stage, keys):
        batch = (stage, *keys)
        if batch not in self.met:
            self.met.add(batch)
            raise InfrastructureError("server down")
        return (settle(key, lambda: payload_of(stage)) for key in keys)


def test_each_batch_is_a_named_run_that_is_tried_again_and_the_funnel_grows_meanwhile(api, tmp_path, monkeypatch):
    build = Faltering(BuildSettings(source=str(tmp_path), out=str(tmp_path / "out"), run=RUN))
    fill(build, CLIPS, stages=())
    monkeypatch.setitem(opened._open, build.settings.out, build)
    monkeypatch.setattr("flows.progress.ARTIFACT_EVERY_S", 0.0)
    monkeypatch.setattr("flows.progress.WATCH_EVERY_S", 0.0)
    monkeypatch.setattr("flows.progress.COUNT_SHARE", float("inf"))
    keys = sorted(key_of("clip", n) for n in range(CLIPS))

    @flow
    def chain():
        with build_lock(build.settings.out):
            go(build, Gauge(build), tasks_of(CHAIN, RUN), keys)
        return str(flow_run.id)

    run_id = chain()
    assert build.store("curate").accepted() == keys
    names = {f"{stage}[{n:04d}] {size} clips" for stage in CHAIN for n, size in ((0, 4), (1, 2))}
    mine = {"flow_runs": {"id": {"any_": [run_id]}}}
    deadline = time.monotonic() + 30
    done = []
    while len(done) < len(names) and time.monotonic() < deadline:  # the server records them a moment later
        runs = api.post("/task_runs/filter", json=mine).json()
        done = [r for r in runs if r["state_type"] == "COMPLETED"]
        time.sleep(0.1)
    assert {r["name"] for r in done} == names
    assert {r["run_count"] for r in done} == {2}
    artifacts = api.post("/artifacts/filter", json={"artifacts": {"key": {"any_": ["funnel"]}}, "limit": 200}).json()
    assert len([a for a in artifacts if a["flow_run_id"] == run_id]) >= 3


class Refused(Faltering):
    """A build whose engines' server refuses the key."""

    def process(self, stage, keys):
        self.met.add((stage, *keys))
        raise StopRun("the key is refused")


def test_what_every_further_try_would_meet_is_not_tried_again_and_ends_the_run(api, tmp_path, monkeypatch):
    build = Refused(BuildSettings(source=str(tmp_path), out=str(tmp_path / "out"), run=RUN))
    fill(build, CLIPS, stages=())
    monkeypatch.setitem(opened._open, build.settings.out, build)
    keys = sorted(key_of("clip", n) for n in range(CLIPS))
    tries = []
    process = build.process
    build.process = lambda stage, keys: tries.append(stage) or process(stage, keys)

    @flow
    def chain():
        go(build, Gauge(build), tasks_of(CHAIN, RUN), keys)

    with pytest.raises(StopRun, match="the key is refused"):
        chain()
    assert tries == ["caption"] * len(tries) and len(tries) <= RUN.workers  # two batches may be under way
    assert build.store("caption").pending(keys) == keys
