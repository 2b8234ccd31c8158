"""The whole pipeline as one Prefect flow: scan, select, ingest, dedupe, the chain, shard, report.

    matrix_data build SOURCE --captions FILE --out FOLDER      (the same flow, run here)
    prefect deploy --all                                       (prefect.yaml: scheduled, run by a worker)

Prefect schedules, shows, retries and limits. What is done stands in the store, so a run may be killed at any moment and
started again.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from prefect import Task, flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.batch import run_batch
from flows.drive import Future, batched, drive
from flows.finish import Result, finish, run_report, run_shard
from flows.intake import run_dedupe, run_select
from flows.funnel import as_table, funnel, tell
from flows.lock import build_lock
from flows.plan import CHAIN, Plan, open_plan, plan_of
from flows.settings import BuildSettings

WATCH_EVERY_S, ARTIFACT_EVERY_S = 1.0, 5.0
"""How often the funnel is counted for watchers, and how often its artifact grows, while the flow runs."""

UNITS = {"scan": "files", "ingest": "videos"}


def _name_of_batch() -> str:
    given = task_run.parameters
    return f"{given['stage']}[{given['number']:04d}] {len(given['keys'])} {UNITS.get(given['stage'], 'clips')}"


def _run_batch(out: str, stage: str, number: int, keys: list[str]) -> list[str]:  # noqa: ARG001 number is in the name
    return run_batch(plan_of(out), stage, keys)


def _alone(step: Callable[[Plan], Any]) -> Callable[[str], Any]:
    return lambda out: step(plan_of(out))


BATCH_TASKS: dict[str, Task[..., list[str]]] = {
    stage: task(
        _run_batch, name=stage, task_run_name=_name_of_batch, cache_policy=NO_CACHE, persist_result=False, tags=[stage]
    )
    for stage in ("scan", "ingest", *CHAIN)
}
"""One Prefect task per stage. The parameters are plain and small: any process that reaches the store can run a batch."""

select_task = task(_alone(run_select), name="select", task_run_name="select", cache_policy=NO_CACHE)
dedupe_task = task(_alone(run_dedupe), name="dedupe", task_run_name="dedupe", cache_policy=NO_CACHE)
shard_task = task(_alone(run_shard), name="shard", task_run_name="shard", cache_policy=NO_CACHE)
report_task = task(_alone(run_report), name="report", task_run_name="report", cache_policy=NO_CACHE)


@flow(
    name="build",
    flow_run_name="build {settings.source} into {settings.out}",
    task_runner=ThreadPoolTaskRunner(max_workers=64),  # `run.workers` bounds what is under way, not the pool
    persist_result=False,
)
def build(settings: BuildSettings) -> Result:
    """Raw videos to verified shards. Whatever is on record already is not done again."""
    began = time.perf_counter()
    with build_lock(settings.out):
        plan = open_plan(settings)
        run = settings.run
        gauge = Gauge(plan)

        def submit(stage: str, number: int, keys: list[str], done: Callable[[], None]) -> Future:
            ready = BATCH_TASKS[stage].with_options(retries=run.retries, retry_delay_seconds=run.retry_delay_s)
            future = ready.submit(settings.out, stage, number, keys)
            future.add_done_callback(lambda _: done())
            return future

        def go(stages: Sequence[str], keys: Sequence[str], size: int) -> list[Exception]:
            return drive(batched(keys, size, stages), submit, run.workers, run.give_up_after, gauge.show)

        lost = go(["scan"], plan.store("scan").pending(plan.listing), run.files_batch)
        select_task(settings.out)
        lost += go(["ingest"], plan.store("ingest").pending(plan.upstream("ingest")), run.sources_batch)
        dedupe_task(settings.out)
        lost += go(CHAIN, unfinished(plan), run.batch)
        for stage in BATCH_TASKS:
            plan.store(stage).compact()
        shard_task(settings.out)
        report_task(settings.out)
        gauge.show(last=True)
        return finish(plan, lost, time.perf_counter() - began)


def unfinished(plan: Plan) -> list[str]:
    """Clips that some stage of the chain has still to see."""
    return sorted({key for stage in CHAIN for key in plan.store(stage).pending(plan.upstream(stage))})


class Gauge:
    """Shows the funnel while the flow runs: to whoever watches in this process, and as an artifact in the UI.

    Counting is linear in the clips on record, so it happens by the clock and not by the batch.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._watch = self._artifact = 0.0

    def show(self, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now < self._watch:
            return
        lines = funnel(self.plan)
        tell(lines)
        self._watch = time.monotonic() + WATCH_EVERY_S
        if last or now >= self._artifact:
            self._artifact = time.monotonic() + ARTIFACT_EVERY_S
            create_table_artifact(table=as_table(lines), key="funnel", description=f"Funnel of {self.plan.out.root}")
