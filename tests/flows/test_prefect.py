"""The deployments of prefect.yaml on a real server with real workers, read back over the API."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from flows.server.events import key_of
from tasks.stages import STAGES
from tests.flows.building import QUICK, sidecar

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def api(server, tmp_path_factory):
    """The server's API with two workers on it and every deployment of prefect.yaml."""
    log = tmp_path_factory.mktemp("workers") / "log"
    with log.open("w") as out, httpx.Client(base_url=server["PREFECT_API_URL"], timeout=30) as api:
        command = [sys.executable, "-m", "flows.cli", "workers", "--pool", "matrix", "--count", "2"]
        workers = subprocess.Popen(command, env=server, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 120
            while log.read_text().count("started!") < 2:
                assert workers.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            for words in ("work-pool create train --type process", "--no-prompt deploy --all"):
                command = [sys.executable, "-m", "prefect", *words.split()]
                done = subprocess.run(command, env=server, cwd=ROOT, capture_output=True, text=True, timeout=250)
                assert done.returncode == 0, done.stdout + done.stderr
            yield api
        finally:
            workers.send_signal(signal.SIGTERM)
            workers.wait(60)
            print(log.read_text()[-5000:])


def start(api, name, **parameters):
    """Start a deployment as the run form does; returns the run's id."""
    deployment = api.get(f"/deployments/name/{name}/{name}").raise_for_status().json()
    made = api.post(f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": parameters})
    assert made.is_success, made.text
    return made.json()["id"]


def state_of(api, run_id):
    return api.get(f"/flow_runs/{run_id}").raise_for_status().json()["state"] or {"type": "NONE"}


def ended(api, run_id):
    deadline = time.monotonic() + 240
    while (state := state_of(api, run_id))["type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    return state


def log_of(api, run_id):
    lines = api.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"}).json()
    return [line["message"] for line in lines]


@pytest.mark.slow
def test_every_stage_can_be_started_with_a_profile_of_the_list(api):
    for name in ["build", *(spec.name for spec in STAGES if spec.name != "report")]:
        deployment = api.get(f"/deployments/name/{name}/{name}").raise_for_status().json()
        form = deployment["parameter_openapi_schema"]["properties"]
        assert form["profile"]["enum"] == sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))
        assert all(field["description"] for field in form.values())
        assert deployment["tags"] == ["matrix"] and deployment["description"]
    for name in ("report", "check", "fit"):
        api.get(f"/deployments/name/{name}/{name}").raise_for_status()
    build = api.get("/deployments/name/build/build").json()
    assert build["schedules"][0]["active"] is False
    assert build["global_concurrency_limit"]["limit"] == 1
    assert build["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"

    refused = api.post(f"/deployments/{build['id']}/create_flow_run", json={"parameters": {"profile": "of-nobody"}})
    assert refused.status_code in (409, 422) and "of-nobody" in refused.text


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_deployment_builds_a_dataset_and_shows_it(api, world, tmp_path):
    out = tmp_path / "out"
    given = {
        "source": str(world / "raw"),
        "captions": str(sidecar(world)),
        "out": str(out),
        "changes": list(QUICK[1::2]),
    }
    run_id = start(api, "build", **given)
    deadline = time.monotonic() + 120
    while state_of(api, run_id)["type"] != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    second = start(api, "build", **given)
    assert ended(api, second)["type"] == "CANCELLED", "one build of a dataset at a time"
    state = ended(api, run_id)
    assert state["type"] == "COMPLETED", (state, log_of(api, run_id)[-20:])
    chunks = api.post("/flow_runs/filter", json={"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}).json()
    assert {run["name"]: run["state_type"] for run in chunks} == dict.fromkeys(
        ["chunk 00000: scan", "chunk 00000: ingest", "chunk 00000: caption to shard"], "COMPLETED"
    )
    runs = [run_id, *(run["id"] for run in chunks)]
    tasks = api.post("/task_runs/filter", json={"flow_runs": {"id": {"any_": runs}}, "limit": 200}).json()
    names = {t["name"]: t["state"]["type"] for t in tasks}
    assert set(names.values()) == {"COMPLETED"}
    assert {"select", "dedupe", "shard, after its batches", "report"} <= set(names)
    for stage, unit in {"scan": "files", "ingest": "videos", "caption": "clips", "curate": "clips"}.items():
        assert any(n.startswith(f"{stage}[0000] ") and n.endswith(f" {unit}") for n in names), (
            stage,
            sorted(names),
        )

    found = api.post(
        "/artifacts/filter",
        json={"artifacts": {"key": {"any_": [f"funnel-{key_of(str(out))}"]}}, "sort": "CREATED_DESC"},
    ).json()
    mine = [a for a in found if a["flow_run_id"] in runs]
    assert len(mine) >= 2, "the funnel must grow while the flow runs"
    assert '"stage": "curate"' in mine[0]["data"]
    (dataset,) = (out / "dataset").glob("*/dataset.json")

    again = {"check": {"dataset": str(out)}, "report": {"out": str(out)}, "curate": given}
    (out / "report.html").unlink()
    for run in {name: start(api, name, **parameters) for name, parameters in again.items()}.values():
        state = ended(api, run)
        assert state["type"] == "COMPLETED", (state, log_of(api, run)[-20:])
    assert (out / "report.html").is_file()

    shard = next(dataset.parent.glob("*.tar"))
    shard.write_bytes(shard.read_bytes()[:-20_000])
    damaged = start(api, "check", dataset=str(out))
    assert ended(api, damaged)["type"] == "FAILED"
    assert any(shard.name in line for line in log_of(api, damaged))
