"""The whole pipeline as one Prefect flow: scan, select, ingest, dedupe, the chain, shard, report.

    matrix_data build SOURCE --captions FILE --out FOLDER      (the same flow, run here)
    prefect deploy --all                                       (prefect.yaml: scheduled, run by a worker)

Prefect schedules, shows, retries and limits. What is done stands in the store, so a run may be killed at any moment and
started again.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from prefect import Task, flow
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import task_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.batch import run_batch
from flows.context import CHAIN, STAGES, Plan, open_plan, plan_of
from flows.drive import FINAL, Future, batched, drive
from flows.finish import Result, finish, run_report, run_shard
from flows.intake import run_dedupe, run_select
from flows.progress import as_table, funnel, tell
from flows.settings import BuildSettings, RunSettings
from tasks.store.lock import build_lock

RUNNER: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=64)
"""`run.workers` bounds what is under way, not the pool."""

WATCH_EVERY_S, ARTIFACT_EVERY_S = 1.0, 5.0
"""How often the funnel is counted for watchers, and how often its artifact grows, while the flow runs."""

COUNT_SHARE = 0.05
"""Counting the funnel is linear in the clips on record: from some size on it is done less often, not longer."""

UNITS = {"scan": "files", "ingest": "videos"}


def _name_of_batch() -> str:
    given = task_run.parameters
    return f"{given['stage']}[{given['number']:04d}] {len(given['keys'])} {UNITS.get(given['stage'], 'clips')}"


def _run_batch(out: str, stage: str, number: int, keys: list[str]) -> list[str]:  # noqa: ARG001 number is in the name
    return run_batch(plan_of(out), stage, keys)


def _alone(step: Callable[[Plan], Any]) -> Callable[[str], Any]:
    return lambda out: step(plan_of(out))


BatchTask = Task[[str, str, int, list[str]], list[str]]

BATCH_TASKS: dict[str, BatchTask] = {
    stage: Task(_run_batch, name=stage, task_run_name=_name_of_batch, cache_policy=NO_CACHE, persist_result=False)
    for stage in ("scan", "ingest", *CHAIN)
}
"""One Prefect task per stage. Its parameters are plain and small: any process that reaches the store can run it."""

ALONE: dict[str, Task[[str], None]] = {
    stage: Task(_alone(step), name=stage, task_run_name=stage, cache_policy=NO_CACHE, persist_result=False)
    for stage, step in {"select": run_select, "dedupe": run_dedupe, "shard": run_shard, "report": run_report}.items()
}
"""The stages that see everything at once, one task each."""


@flow(
    name="build",
    flow_run_name="build {settings.source} into {settings.out}",
    task_runner=RUNNER,
    persist_result=False,
)
def build(settings: BuildSettings) -> Result:
    """Raw videos to verified shards. Whatever is on record already is not done again."""
    with build_lock(settings.out):
        return pipeline(open_plan(settings))


def pipeline(plan: Plan) -> Result:
    """All stages over what is pending, inside a flow run. The caller holds the folder's lock."""
    began = time.perf_counter()
    out = plan.settings.out
    gauge = Gauge(plan)
    for stage in STAGES:
        plan.store(stage).mend()
    new = plan.store("scan").pending(plan.listing)
    if new or plan.store("ingest").pending(plan.upstream("ingest")) or unfinished(plan):
        plan.make_ready(CHAIN)
    go(plan, gauge, ["scan"], new)
    ALONE["select"](out)
    go(plan, gauge, ["ingest"], plan.store("ingest").pending(plan.upstream("ingest")))
    ALONE["dedupe"](out)
    go(plan, gauge, CHAIN, unfinished(plan))
    for stage in BATCH_TASKS:
        plan.store(stage).compact()
    ALONE["shard"](out)
    ALONE["report"](out)
    gauge.show(last=True)
    return finish(plan, began)


def go(plan: Plan, gauge: "Gauge", stages: Sequence[str], keys: Sequence[str]) -> None:
    """Drive `keys` through `stages` in batches, each batch and stage a Prefect task."""
    if not keys:
        return
    run = plan.settings.run
    tasks = tasks_of(stages, run)

    def submit(stage: str, number: int, keys: list[str], done: Callable[[], None]) -> Future:
        future = tasks[stage].submit(plan.settings.out, stage, number, keys)
        future.add_done_callback(lambda _: done())
        return future

    drive(batched(keys, plan.batch_size(stages[0]), stages), submit, run.workers, run.give_up_after, gauge.show)


def worth_another_try(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether Prefect should run a failed batch again: not where every further try must end the same."""
    try:
        state.result()
    except FINAL:
        return False
    except Exception:
        return True
    return False


def tasks_of(stages: Sequence[str], run: RunSettings) -> dict[str, BatchTask]:
    """The tasks of these stages with the build's retries, made once: each copy of a task parses its source anew.

    A stage whose name is a tag with a concurrency limit on the server carries that tag, the others carry none: a task
    with tags asks the server for a slot before each run, limit or not (docs/decisions/0008).
    """
    tasks = {}
    with get_client(sync_client=True) as server:
        for stage in stages:
            options: dict[str, Any] = {
                "retries": run.retries,
                "retry_delay_seconds": run.retry_delay_s,
                "retry_condition_fn": worth_another_try,
            }
            with suppress(ObjectNotFound):
                options["tags"] = [server.read_concurrency_limit_by_tag(stage).tag]
            tasks[stage] = BATCH_TASKS[stage].with_options(**options)
    return tasks


def unfinished(plan: Plan) -> list[str]:
    """Clips that some stage of the chain has still to see, those whose sources' rows lie together side by side.

    Every stage reads a batch's clips from the rows of their sources: in any other order each lies in a row group of its
    own, and reading them costs more than all else.
    """
    pending = {key for stage in CHAIN for key in plan.store(stage).pending(plan.upstream(stage))}
    return plan.store("ingest").by_place(pending)


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
        counted = time.monotonic()
        self._watch = counted + max(WATCH_EVERY_S, (counted - now) / COUNT_SHARE)
        if last or now >= self._artifact:
            self._artifact = time.monotonic() + ARTIFACT_EVERY_S
            create_table_artifact(table=as_table(lines), key="funnel", description=f"Funnel of {self.plan.out.root}")
