"""The deployments of prefect.yaml on a real server with real workers, read back over the API."""

import math
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from flows.opened import context_of
from flows.server.events import key_of
from schemas.labels import read_labels
from tasks.dataset.reader import stream
from tasks.engines.base import Message
from tasks.engines.embedded.language import EmbeddedLanguage
from tasks.engines.replies import CountReply, DescribeReply, ScoreReply, TripletsReply
from tasks.stages import STAGES
from tasks.store.lease import others
from tests.flows.building import QUICK, sidecar
from tests.flows.reviewing import review_page
from tests.tasks.engines.served.fault_server import FaultServer, failed, said
from tests.web.browser import CHROMIUM, Tab, chromium

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def api(server, tmp_path_factory):
    """The server's API with two workers on it and every deployment of prefect.yaml."""
    log = tmp_path_factory.mktemp("workers") / "log"
    with httpx.Client(base_url=server["PREFECT_API_URL"], timeout=30) as api, workers(server, log, "matrix", 2):
        for words in ("work-pool create train --type process", "--no-prompt deploy --all"):
            command = [sys.executable, "-m", "prefect", *words.split()]
            done = subprocess.run(command, env=server, cwd=ROOT, capture_output=True, text=True, timeout=250)
            assert done.returncode == 0, done.stdout + done.stderr
        yield api


@contextmanager
def workers(server, log, pool, count):
    """Workers of a pool, up."""
    with log.open("w") as out:
        command = [sys.executable, "-m", "flows.cli", "workers", "--pool", pool, "--count", str(count)]
        started = subprocess.Popen(command, env=server, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 120
            while log.read_text().count("started!") < count:
                assert started.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(60)
            print(log.read_text()[-5000:])


def start(api, name, **parameters):
    """Start a deployment as the run form does; returns the run's id."""
    deployment = api.get(f"/deployments/name/{name}/{name}").raise_for_status().json()
    path = f"/deployments/{deployment['id']}/create_flow_run"
    made = answered(lambda: api.post(path, json={"parameters": parameters}))
    assert made.is_success, made.text
    return made.json()["id"]


def state_of(api, run_id):
    return answered(lambda: api.get(f"/flow_runs/{run_id}")).raise_for_status().json()["state"] or {"type": "NONE"}


def answered(ask):
    """The server's answer. With workers at its SQLite it is too busy at times, and Prefect's client asks again too."""
    deadline = time.monotonic() + 60
    while (found := ask()).status_code == 503 and time.monotonic() < deadline:
        time.sleep(1)
    return found


def until(api, run_id, *types):
    deadline = time.monotonic() + 240
    while (state := state_of(api, run_id))["type"] not in types:
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    return state


def ended(api, run_id):
    return until(api, run_id, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def log_of(api, run_id):
    lines = api.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"}).json()
    return [line["message"] for line in lines]


def wait_for_line(api, run_id, *words):
    """Until the run's log has a line with these words: lines may come after the run's last state."""
    deadline = time.monotonic() + 60
    while not any(all(word in line for word in words) for line in log_of(api, run_id)):
        assert time.monotonic() < deadline, log_of(api, run_id)
        time.sleep(0.5)


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
    wait_for_line(api, damaged, shard.name)


FORMS = {form.__name__: form for form in (CountReply, DescribeReply, ScoreReply, TripletsReply)}


@pytest.mark.production
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pool", [None, "captions"])
def test_a_build_that_meets_a_dead_server_is_suspended_with_the_reason_and_resumed(api, server, world, tmp_path, pool):
    """In its own process, and where the chunk's run on a pool is the one that meets it."""
    out, mended = str(tmp_path / "out"), False

    async def answer(asked):
        if asked.number and not mended:  # the first question is the engine's own check
            return failed(503, "no GPU is left")
        messages = [Message(m["role"], m["content"]) for m in asked.body["messages"]]
        form = FORMS[asked.body["response_format"]["json_schema"]["name"]]
        return said((await EmbeddedLanguage().ask(messages, form)).model_dump_json())

    crew = workers(server, tmp_path / "log", pool, 1) if pool else nullcontext()
    with FaultServer(answer) as llm, crew:
        options = f"{{base_url: '{llm.url}', retries: 0, breaker_after: 1}}"
        changes = [*QUICK[1::2], f"engines.language={{name: openai, options: {options}}}"]
        changes += [f"run.pools={{caption: {pool}}}"] if pool else []
        given = {"source": str(world / "raw"), "captions": str(sidecar(world)), "out": out, "changes": changes}
        run_id = start(api, "build", **given)
        state = until(api, run_id, "PAUSED", "FAILED", "CRASHED")
        assert (state["type"], state["name"]) == ("PAUSED", "Suspended"), log_of(api, run_id)[-10:]
        assert "requests in a row failed" in state["message"] and "no GPU is left" in state["message"]
        assert "press Resume" in state["message"]
        build = context_of(out)
        assert others(build.folder) == [], "leases are given back"
        funnel = {line.stage: line for line in build.funnel()}
        assert funnel["dedupe"].accepted and funnel["caption"].pending == funnel["caption"].arrived > 0
        found = api.post("/artifacts/filter", json={"artifacts": {"key": {"any_": [f"paused-{key_of(out)}"]}}}).json()
        assert "no GPU is left" in found[0]["data"] and f"--out {out}" in found[0]["data"]
        wait_for_line(api, run_id, "stopped: ", "no GPU is left")

        below = api.post("/flow_runs/filter", json={"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}).json()
        (caption,) = [run for run in below if "caption" in run["name"]]
        assert (caption["state_type"], caption["state_name"]) == ("FAILED", "GaveUp" if pool else "Failed")

        for mended in (True,) if pool else (False, True):  # resumed too early, the run is suspended once more
            answered(lambda: api.post(f"/flow_runs/{run_id}/resume")).raise_for_status()
            state = until(api, run_id, "PAUSED", "COMPLETED", "FAILED", "CRASHED")
            if not mended:
                assert (state["type"], state["name"]) == ("PAUSED", "Suspended"), log_of(api, run_id)[-20:]
        assert state["type"] == "COMPLETED", (state, log_of(api, run_id)[-20:])
    assert list((tmp_path / "out" / "dataset").glob("*/dataset.json"))
    assert others(build.folder) == []


@pytest.mark.production
@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_a_build_is_suspended_until_people_have_decided_and_goes_on(api, server, world, tmp_path, request):
    """Nobody presses Resume: who decides on the last clip that is wanted has the build go on."""
    built = request.getfixturevalue("built")  # not asked for above: tests/conftest.py would sort the whole file by it
    out, url = str(shutil.copytree(built, tmp_path / "out")), "http://reviewers.example/"
    changes = [*QUICK[1::2], "review.wait=0.4", "review.second_share=0", f"review.url={url}"]
    given = {"source": str(world / "raw"), "captions": str(sidecar(world)), "out": out, "changes": changes}
    run_id = start(api, "build", **given)
    for early in (True, False):  # resumed too early, it is suspended once more
        state = until(api, run_id, "PAUSED", "COMPLETED", "FAILED", "CRASHED")
        assert (state["type"], state["name"]) == ("PAUSED", "Suspended"), log_of(api, run_id)[-10:]
        assert "clips wait for people" in state["message"] and "goes on when people have decided" in state["message"]
        assert others(context_of(out).folder) == [], "leases are given back"
        found = api.post("/artifacts/filter", json={"artifacts": {"key": {"any_": [f"review-{key_of(out)}"]}}}).json()
        assert f"[review]({url})" in found[0]["data"]
        if early:
            answered(lambda: api.post(f"/flow_runs/{run_id}/resume")).raise_for_status()
            until(api, run_id, "RUNNING")

    with review_page(out, server) as (address, token), chromium() as browser:
        root = Tab(browser, address)
        root.log_in(token)
        expect(root.page.get_by_role("status")).to_contain_text("a build waits for people: 0 clips")
        clips = root.page.locator("tbody code").all_inner_texts()
        root.open("/next")
        for _ in range(math.ceil(0.4 * len(clips))):
            root.press("q")
            root.decided()
            root.finish()
        state = until(api, run_id, "COMPLETED", "FAILED", "CRASHED")
        assert state["type"] == "COMPLETED", (state, log_of(api, run_id)[-20:])
        samples = [one.sample for one in stream(context_of(out).dataset)]
        said = {r.by for s in samples if s.clip_id == clips[0] for r in s.review}
        assert {s.clip_id for s in samples} == set(clips) and said == {"admin"}

        root.open(f"/clip/{clips[0]}")  # thought better of
        for number in range(1, 1 + root.page.locator(".said").count()):
            root.drop(number)
        root.finish()
        assert root.problems == []
    assert ended(api, start(api, "build", **given))["type"] == "COMPLETED"
    assert read_labels(context_of(out).dataset.read).dropped == {clips[0]}
