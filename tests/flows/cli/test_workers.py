"""`matrix_data workers`: real workers on a real server, one a GPU, ended together."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks.setting.prefect_server import answers
from benchmarks.setting.processes import free_port
from flows.cli.workers import plan
from tasks.errors import UserError

FLOW = """
import os, time
from pathlib import Path
from prefect import flow

@flow
def stay(folder: str):
    Path(folder, str(os.getpid())).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    time.sleep(600)
"""


def wait_for(what, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.2)
    return found


def test_a_worker_a_gpu_or_so_many_without_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5f")
    crew = plan("gpu", 2, None)
    assert [member.env["CUDA_VISIBLE_DEVICES"] for member in crew] == ["2", "2", "GPU-5f", "GPU-5f"]
    assert len({member.name for member in crew}) == 4
    assert [member.env["CUDA_VISIBLE_DEVICES"] for member in plan("cpu", 1, 3)] == ["", "", ""]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match="--count N"):
        plan("gpu", 1, None)


@pytest.mark.slow
def test_workers_share_runs_see_a_gpu_each_and_end_together(server, tmp_path):
    (tmp_path / "stay.py").write_text(FLOW)
    seen = tmp_path / "seen"
    seen.mkdir()
    log, health = (tmp_path / "workers.log").open("w+"), free_port()
    crew = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "workers", "--pool", "crew", "--with-healthcheck"],
        env=server | {"CUDA_VISIBLE_DEVICES": "3,GPU-5f", "PREFECT_WORKER_WEBSERVER_PORT": str(health)},
        stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    told = Path(log.name)
    try:
        wait_for(lambda: told.read_text().count("started!") == 2)
        assert wait_for(lambda: answers(f"http://127.0.0.1:{health}/health"))
        with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"]}):
            stay = flow.from_source(source=str(tmp_path), entrypoint="stay.py:stay")
            stay.deploy("stay", work_pool_name="crew", print_next_steps=False)
            runs = [run_deployment("stay/stay", parameters={"folder": str(seen)}, timeout=0) for _ in range(2)]
            wait_for(lambda: len([path for path in seen.iterdir() if path.read_text()]) == 2)
            assert {path.read_text() for path in seen.iterdir()} == {"3", "GPU-5f"}

            workers = [child for child in psutil.Process(crew.pid).children() if "worker" in child.cmdline()]
            runs_at_work = [psutil.Process(int(path.name)) for path in seen.iterdir()]
            workers[0].kill()
            wait_for(lambda: "ended with exit code 137; 1 still at work" in told.read_text())
            asked = time.monotonic()
            crew.send_signal(signal.SIGTERM)
            assert crew.wait(60) == 137, "the first that failed"
            assert time.monotonic() - asked < 30
            with get_client(sync_client=True) as client:
                states = [client.read_flow_run(run.id).state.name for run in runs]
            # A run whose worker was killed cannot say that it ended: the automation does (tests/production).
            assert sorted(states) == ["Crashed", "Running"], told.read_text()
            assert not any(process.is_running() for process in (*workers, *runs_at_work))
    finally:
        crew.kill()
        log.close()


def test_without_a_server_it_is_one_line(matrix_data):
    ended = matrix_data("workers", "--pool", "crew", "--count", "1", PREFECT_API_URL="")
    assert ended.code == 2 and "set PREFECT_API_URL" in ended.errors
