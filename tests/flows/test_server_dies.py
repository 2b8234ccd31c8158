"""Prefect's server is killed in the middle of a build: the work goes on, and the command ends soon and as promised."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.setting.prefect_server import prefect_server
from tests.flows.building import QUICK, sidecar


@pytest.mark.slow
def test_a_server_that_dies_takes_no_work_with_it(world, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "flows.cli", "build", world / "raw", "--captions", sidecar(world), "--out", out]
    with prefect_server(tmp_path / "prefect") as env:
        port = env["PREFECT_API_URL"].split(":")[2].removesuffix("/api")
        server = next(process for process in psutil.Process().children() if port in process.cmdline())
        build = subprocess.Popen(
            [*map(str, command), *QUICK, "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while build.poll() is None and not list(out.glob("work/scan/*/*/part-*.parquet")):
            time.sleep(0.05)
        for process in (*server.children(recursive=True), server):
            process.kill()
        told, errors = build.communicate(timeout=250)
    assert build.returncode in (0, 3), errors
    assert "Traceback" not in errors
    if build.returncode == 0:
        result = json.loads(told.splitlines()[-1])
        assert result["pending"] == 0 and Path(result["dataset"]).is_dir()
