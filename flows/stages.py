"""One flow per stage, for people who schedule stages apart: each runs its stage over what is pending, and no other.

Entrypoints for `prefect deploy`: `flows/stages.py:scan`, `flows/stages.py:ground`, and so on.
"""

import time
from typing import Any

from prefect import Flow, flow

from flows.build import ALONE, RUNNER, Gauge, go
from flows.context import open_plan
from flows.finish import Result, finish
from flows.settings import BuildSettings
from tasks.store.lock import build_lock


def stage_flow(stage: str) -> Flow[[BuildSettings], Any]:
    """The flow that runs only `stage`."""

    @flow(name=stage, task_runner=RUNNER, persist_result=False)
    def run_stage(settings: BuildSettings) -> Result:
        began = time.perf_counter()
        with build_lock(settings.out):
            plan = open_plan(settings)
            gauge = Gauge(plan)
            if stage in ALONE:
                ALONE[stage](settings.out)
            else:
                arrived = plan.listing if stage == "scan" else plan.upstream(stage)
                if pending := plan.store(stage).pending(arrived):
                    plan.make_ready([stage])
                go(plan, gauge, [stage], pending)
            gauge.show(last=True)
            return finish(plan, began)

    return run_stage


scan = stage_flow("scan")
select = stage_flow("select")
ingest = stage_flow("ingest")
dedupe = stage_flow("dedupe")
caption = stage_flow("caption")
ground = stage_flow("ground")
track = stage_flow("track")
curate = stage_flow("curate")
shard = stage_flow("shard")
report = stage_flow("report")
