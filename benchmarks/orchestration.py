"""What scheduling and the store cost around stages that do nothing: `python -m benchmarks.orchestration`.

Three figures: milliseconds a clip and stage at batch 64 over a real Prefect server (its time counts), the growth of
peak memory from 1 000 to 10 000 clips, and a build with nothing to do over 11 000 known clips (our code; Prefect's own
start and API calls are measured beside it).
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def main() -> None:
    figures: dict[str, Any] = {"batch": 64}
    runs = {clips: _child("run", clips) for clips in (1_000, 10_000)}
    for clips, run in runs.items():
        figures[f"ms_per_clip_and_stage_{clips}"] = round(run["ms"], 4)
        figures[f"peak_mb_{clips}"] = round(run["peak_mb"], 1)
    figures["peak_growth"] = round(runs[10_000]["peak_mb"] / runs[1_000]["peak_mb"], 3)
    idle = _child("idle", 11_000)
    figures |= {f"idle_{k}": round(v, 3) for k, v in idle.items()}
    print(
        f"orchestration {figures['ms_per_clip_and_stage_10000']} ms a clip and stage (bar 1), "
        f"peak ×{figures['peak_growth']} from 1 000 to 10 000 clips, "
        f"nothing to do over 11 000: {figures['idle_ours_s']} s (bar 2)"
    )
    print(json.dumps(figures))


def _child(what: str, clips: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.orchestration", what, str(clips), folder],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measure(what: str, clips: int, folder: str) -> dict[str, float]:
    from flows.local import use_local_prefect

    out = f"{folder}/out"
    use_local_prefect(out, verbose=False)
    os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
    from prefect import flow

    import flows.build
    from benchmarks.rows import fill, payload_of
    from flows.plan import CHAIN, Plan, _plans
    from flows.settings import BuildSettings, RunSettings
    from schemas import Row, Status

    class Idle(Plan):
        """A plan whose stages accept everything at once."""

        def process(self, stage: str, keys: Sequence[str]) -> Iterator[Row[Any]]:
            self.cases(keys, stage)
            payload = payload_of(stage)
            return (Row(key=k, status=Status.ACCEPTED, payload=payload) for k in keys)

    Path(folder, "raw").mkdir()
    settings = BuildSettings(source=f"{folder}/raw", out=out, run=RunSettings(batch=64, workers=2))
    fill(Plan(settings), clips, CHAIN if what == "idle" else ())
    plan = Idle(settings)
    _plans[out] = plan
    # Writing shards and the report is the work of stages, and is measured in benchmarks/shards.py.
    flows.build.ALONE |= dict.fromkeys(("shard", "report"), lambda _: None)  # type: ignore[arg-type]

    @flow
    def empty() -> None:
        return None

    @flow
    def bench() -> None:
        flows.build.pipeline(plan)

    began = time.perf_counter()
    empty()
    started = time.perf_counter()
    bench()
    ended = time.perf_counter()
    stages = len(CHAIN)
    if what == "idle":
        assert not flows.build.unfinished(plan)
        again = time.perf_counter()
        fresh = Plan(settings)
        flows.build.unfinished(fresh)
        flows.build.funnel(fresh)
        return {"ours_s": time.perf_counter() - again, "flow_s": ended - started, "prefect_start_s": started - began}
    assert len(plan.store(CHAIN[-1])) == clips
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ms": 1000 * (ended - started) / (clips * stages), "peak_mb": peak}


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
    else:
        main()
