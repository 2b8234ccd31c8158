"""Two workers against one, at stages that cost processor time: `python -m benchmarks.workers --videos 24`.

Rendered videos are built up to dedupe in this process; then a pool's workers take copies of that store from caption to
shard with the embedded engines, a chunk a flow run, first one worker and then two. A worker has one batch under way and
libraries of one thread, so that one worker is one core. By the clock: from the first chunk's start to the last one's
end. On a busy machine that says little; by processor time: what one worker spent on all, over what the busier of two
spent on its part, which is what two free cores would give.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.setting.prefect_server import prefect_server
from benchmarks.setting.production import crew

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")
EARLIER = ("scan", "select", "ingest", "dedupe")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--chunk", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where all lies meanwhile")
    given = parser.parse_args()
    os.environ |= ONE_THREAD
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, prefect_server(Path(folder) / "server") as env:
        found = measure(Path(folder), given.videos, given.chunk, given.seed, env | ONE_THREAD)
    print(
        f"two workers against one over {found['chunks']} chunks: ×{found['clock']:.2f} by the clock, "
        f"×{found['processor']:.2f} by processor time (bar 1.7)"
    )
    print(json.dumps(found))


def measure(folder: Path, videos: int, chunk: int, seed: int, env: dict[str, str]) -> dict[str, Any]:
    from tasks.world import render_bucket

    world = folder / "world"
    raw = render_bucket(world, videos=videos, seed=seed, level="plain", broken=False, workers=1) / "raw"
    common = [str(raw), str(next(world.glob("captions.*"))), str(chunk)]
    subprocess.run([sys.executable, "-c", _BEFORE, *common, str(folder / "1")], check=True, env=env)
    shutil.copytree(folder / "1", folder / "2")
    took, spent = {}, {}
    for count in (1, 2):
        with crew(env, folder, f"pool{count}", count) as server:
            workers = [p for p in psutil.Process(server.process.pid).children() if "worker" in p.cmdline()]
            before = [_seconds(worker) for worker in workers]
            sets = [f"run.chunk={chunk}", "run.workers=1", f"run.pools={{caption: pool{count}}}"]
            words = ["build", common[0], "--captions", common[1], "--out", str(folder / str(count))]
            command = [sys.executable, "-m", "flows.cli", *words, *(w for s in sets for w in ("--set", s))]
            subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
            spent[count] = [_seconds(worker) - was for worker, was in zip(workers, before, strict=True)]
        took[count], chunks = _clock(env["PREFECT_API_URL"], f"pool{count}")
    return {
        "chunks": chunks,
        "clock_s": took,
        "processor_s": spent,
        "clock": round(took[1] / took[2], 3),
        "processor": round(sum(spent[1]) / max(spent[2]), 3),
    }


_BEFORE = f"""
import sys
from flows.settings import load_settings
import flows.stages
raw, captions, chunk, out = sys.argv[1:]
settings = load_settings("local", [f"run.chunk={{chunk}}"], source=raw, captions=captions, out=out)
for stage in {EARLIER}:
    getattr(flows.stages, stage)(settings, return_state=True)  # which says that later stages have something pending
"""
"""Builds up to dedupe."""


def _seconds(worker: psutil.Process) -> float:
    """Processor time of a worker and of the flow runs that it has started, ended ones too."""
    times = worker.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _clock(api: str, pool: str) -> tuple[float, int]:
    """Seconds from the first run's start on a pool to the last one's end, and how many runs there were."""
    asked = {"work_pools": {"name": {"any_": [pool]}}, "limit": 200}
    runs = httpx.post(f"{api}/flow_runs/filter", json=asked, timeout=60).raise_for_status().json()
    assert runs and all(run["state_type"] == "COMPLETED" for run in runs), [run["state_name"] for run in runs]
    first = min(datetime.fromisoformat(run["start_time"]) for run in runs)
    last = max(datetime.fromisoformat(run["end_time"]) for run in runs)
    return round((last - first).total_seconds(), 1), len(runs)


if __name__ == "__main__":
    main()
