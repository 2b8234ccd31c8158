"""The deployment of prefect.yaml on a real server with a real worker, read back over the API."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.flows.building import sidecar

ROOT = Path(__file__).parents[2]


def prefect(env, *arguments):
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def worker(server, tmp_path):
    """A process worker on the pool that prefect.yaml names; ended by its process group."""
    prefect(server, "work-pool", "create", "matrix", "--type", "process", "--overwrite")
    log = (tmp_path / "worker.log").open("w+")
    running = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "matrix", "--type", "process"],
        env=server,
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    yield running
    os.killpg(running.pid, signal.SIGTERM)
    try:
        running.wait(30)
    except subprocess.TimeoutExpired:  # it waits for its flow runs; the test is over
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    log.close()


@pytest.mark.slow
def test_the_deployment_builds_a_dataset_and_shows_it(server, worker, world, tmp_path):
    prefect(server, "deploy", "--prefect-file", "prefect.yaml", "--all")
    out = tmp_path / "out"
    with httpx.Client(base_url=server["PREFECT_API_URL"], timeout=30) as api:
        deployment = api.get("/deployments/name/build/build").raise_for_status().json()
        assert deployment["schedules"][0]["active"] is False
        form = deployment["parameter_openapi_schema"]
        assert "ProposeSettings" in str(form) and "clips a batch" in str(form)

        parameters = {"settings": {"source": str(world / "raw"), "captions": str(sidecar(world)), "out": str(out)}}
        run = api.post(f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": parameters})
        run_id = run.raise_for_status().json()["id"]
        deadline = time.monotonic() + 240
        state = {"type": "NONE"}
        while state["type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") and time.monotonic() < deadline:
            time.sleep(1)
            state = api.get(f"/flow_runs/{run_id}").raise_for_status().json()["state"]
        assert state["type"] == "COMPLETED", (state, (tmp_path / "worker.log").read_text()[-3000:])

        tasks = api.post("/task_runs/filter", json={"flow_runs": {"id": {"any_": [run_id]}}, "limit": 200}).json()
        names = {t["name"]: t["state"]["type"] for t in tasks}
        assert set(names.values()) == {"COMPLETED"}
        assert {"select", "dedupe", "shard", "report"} <= set(names)
        for stage, unit in {"scan": "files", "ingest": "videos", "caption": "clips", "curate": "clips"}.items():
            assert any(n.startswith(f"{stage}[0000] ") and n.endswith(f" {unit}") for n in names), (
                stage,
                sorted(names),
            )

        found = api.post(
            "/artifacts/filter", json={"artifacts": {"key": {"any_": ["funnel"]}}, "sort": "CREATED_DESC"}
        ).json()
        mine = [a for a in found if a["flow_run_id"] == run_id]
        assert len(mine) >= 2, "the funnel must grow while the flow runs"
        assert '"stage": "curate"' in mine[0]["data"]
    assert (out / "report.html").is_file()
    assert list((out / "dataset").rglob("dataset.json"))
