"""What scheduling and the store cost around stages that do nothing: `python -m benchmarks.orchestration`.

Three figures: milliseconds a clip and stage at batch 64 over a real Prefect server, the growth of peak memory from
1 000 to 10 000 clips, and a build with nothing to do over 11 000 known clips (our code; Prefect's own start and API
calls are measured beside it).

The clock runs from the start of the flow until the server has recorded every batch's task run as completed, so the
server's time counts. The server is a whole one with Prefect's defaults (`prefect server start`), as in a deployment;
the one that `matrix_data build` starts for itself is measured at 1 000 clips. Processor time a task, of our process and
of the server's, stands beside each figure: on a busy machine the clock says little.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.setting.prefect_server import prefect_server

BATCH = 64
SIZES = (1_000, 10_000)
KNOWN = 11_000


def main() -> None:
    figures: dict[str, Any] = {"batch": BATCH}
    with tempfile.TemporaryDirectory() as home, prefect_server(Path(home)) as env:
        (server,) = psutil.Process().children()
        for clips in SIZES:
            figures |= _figures(clips, _child("run", clips, env, server))
    figures |= _figures("local", _child("run", SIZES[0], os.environ))
    small, large = (figures[f"peak_mb_{clips}"] for clips in SIZES)
    figures["peak_growth"] = round(large / small, 3)
    figures |= {f"idle_{k}": round(v, 3) for k, v in _child("idle", KNOWN, os.environ).items()}
    print(
        f"orchestration {figures[f'ms_per_clip_and_stage_{SIZES[-1]}']} ms a clip and stage (bar 1), "
        f"peak ×{figures['peak_growth']} from {SIZES[0]} to {SIZES[-1]} clips, "
        f"nothing to do over {KNOWN}: {figures['idle_ours_s']} s (bar 2)"
    )
    print(json.dumps(figures))


def _figures(label: object, run: Mapping[str, float]) -> dict[str, float]:
    names = {"ms": "ms_per_clip_and_stage", "own_ms": "own_cpu_ms_per_task", "server_ms": "server_cpu_ms_per_task"}
    return {f"{names.get(k, k)}_{label}": round(v, 3) for k, v in run.items()}


def _child(what: str, clips: int, env: Mapping[str, str], server: psutil.Process | None = None) -> dict[str, float]:
    """Measure in a process of its own. `server`: the one that `env` leads to, unless the process starts its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.orchestration", what, str(clips), folder]
        words = [*command, str(server.pid)] if server else command
        done = subprocess.run(words, check=True, env=dict(env), stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measure(what: str, clips: int, folder: str, server: psutil.Process | None) -> dict[str, float]:
    from flows.cli.prefect_home import use_local_prefect

    out = f"{folder}/out"
    use_local_prefect(out, verbose=False)
    os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    from benchmarks.setting.rows import CHAIN, fill, payload_of
    from flows.build import pipeline
    from flows.chunk import Chunk
    from flows.context import Context
    from flows.legs import SPECS
    from flows.opened import open_build
    from flows.settings import BuildSettings, RunSettings
    from schemas import Row, Status
    from tasks.stages import STAGES
    from tasks.store.lease import alone

    def accept(chunk: Chunk, stage: str, keys: Sequence[str]) -> Iterator[Row[Any]]:
        """What a stage would do that accepts everything at once."""
        chunk.cases(keys, SPECS[stage].needs)
        payload = payload_of(stage)
        return (Row(key=k, status=Status.ACCEPTED, payload=payload) for k in keys)

    Chunk.process = accept  # type: ignore[method-assign]
    Path(folder, "raw").mkdir()
    settings = BuildSettings(source=f"{folder}/raw", out=out, run=RunSettings(batch=BATCH, workers=2))
    fill(Context(settings), clips, CHAIN if what == "idle" else ())
    # Writing shards and the report is the work of stages, and is measured in benchmarks/shards.py.
    stages = [spec for spec in STAGES if spec.name not in ("shard", "report")]

    @flow
    def empty() -> None:
        return None

    @flow
    def bench() -> str:
        with alone(out):
            pipeline(open_build(settings), stages)
        return str(flow_run.id)

    began = time.perf_counter()
    empty()
    server = server or next(iter(psutil.Process().children()))
    before = _seconds(psutil.Process()), _seconds(server)
    started = time.perf_counter()
    run = bench()
    size = settings.run.chunk
    tasks = 0 if what == "idle" else len(CHAIN) * sum(-(-min(size, clips - i) // BATCH) for i in range(0, clips, size))
    with get_client(sync_client=True) as client:
        # Each chunk is a flow run of its own below this one.
        completed = {"state": {"type": {"any_": ["COMPLETED"]}}}
        asked = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}, "task_runs": completed}
        while client.request("POST", "/task_runs/count", json=asked).json() < tasks:
            time.sleep(0.05)
    ended = time.perf_counter()
    if what == "idle":
        again = time.perf_counter()
        survey = Context(settings).survey()
        assert not any(line.pending for line in survey.funnel() if line.stage != "shard")
        return {"ours_s": time.perf_counter() - again, "flow_s": ended - started, "prefect_start_s": started - began}
    assert len(Context(settings).store(CHAIN[-1])) == clips
    return {
        "ms": 1000 * (ended - started) / (clips * len(CHAIN)),
        "own_ms": 1000 * (_seconds(psutil.Process()) - before[0]) / tasks,
        "server_ms": 1000 * (_seconds(server) - before[1]) / tasks,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _seconds(process: psutil.Process) -> float:
    """Processor time of a process and those below it."""
    whole = [process] if process.pid == os.getpid() else [process, *process.children(recursive=True)]
    return sum((p.cpu_times().user + p.cpu_times().system for p in whole), 0.0)


if __name__ == "__main__":
    if len(sys.argv) >= 4:
        pid = psutil.Process(int(sys.argv[4])) if len(sys.argv) == 5 else None
        print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]), sys.argv[3], pid)))
    else:
        main()
