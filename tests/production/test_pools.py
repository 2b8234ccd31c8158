"""A build over work pools: workers of three pools, a server on PostgreSQL and Redis, a disk and a bucket."""

import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from benchmarks.setting.production import crew
from flows.server.events import key_of
from tasks.store.folder import Folder
from tests.production.pooling import ROOT, SETTINGS, ended
from tests.web.browser import CHROMIUM, Tab, chromium

pytestmark = [pytest.mark.production, pytest.mark.timeout(900)]

POOLS = "run.pools={caption: cpu, propose: gpu, verify: cpu, track: gpu}"
LEGS = ("caption", "propose", "verify", "track to shard")


@pytest.fixture
def client(split):
    with temporary_settings({PREFECT_API_URL: split["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def at_work(in_bucket, home):
    env = in_bucket.env
    with crew(env, home, "cpu", 2), crew(env, home, "gpu", 1), crew(env, home, "matrix", 1):
        yield env


def looked_at(client, parent, out):
    """The chunks' runs of a build are done, its funnel and their logs are there."""
    below = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]))
    )
    assert {run.state.name for run in below} == {"Completed"}
    below = [run for run in below if run.work_pool_name]  # the others, of files and videos, ran with their parent
    assert {run.name for run in below} == {f"chunk {name}: {leg}" for name in ("00000", "00001") for leg in LEGS}
    assert {run.work_pool_name for run in below} == {"cpu", "gpu"}
    funnels = client.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[f"funnel-{key_of(out)}"]))
    )
    assert parent in {found.flow_run_id for found in funnels}
    assert {run.id for run in below}.isdisjoint({found.flow_run_id for found in funnels}), "theirs stand at them alone"
    for run in below:
        told = client.read_logs(log_filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
        assert any("1 of 1 accepted in " in line.message for line in told), run.name


def seen_in_chromium(env, build, out):
    """The pages of Prefect's UI show how the build ended, a chunk's log with its batches, and the funnel."""
    url = env["PREFECT_API_URL"].removesuffix("/api")
    with temporary_settings({PREFECT_API_URL: env["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[build.id]))
        chunk = next(run for run in client.read_flow_runs(flow_run_filter=below) if run.work_pool_name == "gpu")
    with chromium() as browser:
        page = Tab(browser, url).page
        for path, words in {
            f"/runs/flow-run/{build.id}": (build.name, "Completed"),
            f"/runs/flow-run/{chunk.id}": (chunk.name, "1 of 1 accepted in"),
            f"/artifacts/key/funnel-{key_of(out)}": (f"Funnel of {out}",),
        }.items():
            page.goto(path)
            for word in words:
                page.get_by_text(word).first.wait_for()


@pytest.mark.long
def test_workers_of_two_pools_make_the_same_bytes(client, split, at_work, on_disk, calm):
    del at_work
    done = ended(split, *on_disk.build("pools", "--set", POOLS))
    assert done.returncode == 0, done.stderr
    assert on_disk.dataset("pools") == calm
    out = f"{on_disk.room}/pools"
    (parent,) = [run for run in client.read_flow_runs() if run.name == f"build {on_disk.raw} into {out}"]
    looked_at(client, parent.id, out)
    assert ended(split, "verify", out).returncode == 0


@pytest.fixture(scope="module")
def deployed(at_work):
    """Begins a run of the deployment `build` into a folder of a place, over pools."""
    deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--name", "build"]
    subprocess.run(deploy, env=at_work, cwd=ROOT, check=True, capture_output=True, timeout=250)
    changes = [word for word in (*SETTINGS, "--set", POOLS) if word != "--set"]

    def begin(place, out, seconds):
        given = {"source": place.raw, "captions": place.captions, "out": f"{place.room}/{out}", "changes": changes}
        return run_deployment("build/build", parameters=given, timeout=seconds, poll_interval=2)

    return begin


def press_cancel(client, run):
    client.set_flow_run_state(run.id, Cancelling())  # as the UI's button does


def kill(_client, run):
    """The first process with its name in the environment: those of its chunks' runs have their own."""
    mine = [process for process in psutil.process_iter() if run_of(process) == str(run.id)]
    min(mine, key=psutil.Process.create_time).kill()


def run_of(process):
    with suppress(psutil.Error):
        return process.environ().get("PREFECT__FLOW_RUN_ID")


@pytest.mark.long
@pytest.mark.parametrize(("end", "state"), [(press_cancel, "CANCELLED"), (kill, "CRASHED")])
def test_a_build_that_ends_early_takes_its_chunks_along_and_the_next_one_goes_on(
    client, deployed, on_disk, calm, end, state
):
    """30 s are promised for a cancelled one, of a machine that has nothing else to do: `-rP` shows what it took."""
    out = state.lower()
    run = deployed(on_disk, out, 0)

    def below(wanted):
        parent = FlowRunFilterParentFlowRunId(any_=[run.id])
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent))
        return [chunk.name for chunk in found if wanted(chunk)]

    wait(lambda: below(lambda chunk: chunk.work_pool_name and chunk.state.is_running()))
    asked = time.monotonic()
    end(client, run)
    wait(lambda: client.read_flow_run(run.id).state.is_final() and not below(lambda chunk: not chunk.state.is_final()))
    print(f"ended after {time.monotonic() - asked:.1f} s")
    assert client.read_flow_run(run.id).state.type == state
    done = ended(on_disk.env, *on_disk.build(out))
    assert done.returncode == 0, done.stderr
    assert on_disk.dataset(out) == calm


def wait(what, seconds=300):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.3)
    return found


@pytest.mark.long
def test_a_deployment_builds_from_a_bucket_into_a_bucket_over_pools(
    client, at_work, deployed, in_bucket, calm_in_bucket
):
    out = f"{in_bucket.room}/out"
    run = deployed(in_bucket, "out", 600)
    assert run.state.is_completed(), run.state.message
    assert in_bucket.dataset("out") == calm_in_bucket
    looked_at(client, run.id, out)
    assert ended(at_work, "verify", out).returncode == 0
    if CHROMIUM is None:
        pytest.skip("all but the pages was looked at: these need Chromium (apt-get install chromium)")
    seen_in_chromium(at_work, run, out)


def test_pools_that_cannot_be_reached_are_refused_before_a_chunk(split, on_disk):
    done = ended(split, *on_disk.build("nowhere", "--set", "run.pools={caption: cpux}"))
    assert done.returncode == 2
    assert "no deployment chunk/cpux: `matrix_data workers --pool cpux` makes it" in done.stderr


SOON = """
import sys
from flows.server import pools
pools.DEAD_S, pools.LOOK_S = 10.0, 1.0
sys.argv = ["matrix_data", *sys.argv[1:]]
from flows.cli import main
main()
"""


@pytest.mark.long
def test_a_build_whose_worker_dies_goes_on_with_the_next_one_though_nobody_tells_it(split, home, on_disk, calm, client):
    """No automation and no heartbeat: the parent looks at the lease of the chunk itself."""
    pools = "run.pools={caption: fragile}"
    build = [sys.executable, "-c", SOON, *on_disk.build("fragile", "--set", pools)]
    folder = home / "crews"
    folder.mkdir()
    with crew(split, folder, "fragile", 1) as first:
        at_work = subprocess.Popen(
            build, env=split, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            leases = Folder(f"{on_disk.room}/fragile").below("work/leases")
            deadline = time.monotonic() + 200
            while not [name for name, _ in leases.walk("caption") if name.endswith("/holder.json")]:
                assert at_work.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            first.kill()
            first.again()
            _, errors = at_work.communicate(timeout=400)
        finally:
            at_work.kill()
    assert at_work.returncode == 0, errors
    assert on_disk.dataset("fragile") == calm
    runs = [run for run in client.read_flow_runs() if run.work_pool_name == "fragile"]
    assert sorted(run.state.name for run in runs) == ["Completed", "Completed", "Crashed"]
    assert any("nobody holds its chunk" in (run.state.message or "") for run in runs)
