"""The whole pipeline as one Prefect flow: every stage of `tasks.stages`, in order.

    matrix_data build SOURCE --captions FILE --out FOLDER      (the same flow, run here)
    prefect deploy --all                                       (prefect.yaml: scheduled, run by a worker)

Prefect schedules, shows, retries and limits. What is done stands in the store, so a run may be killed at any moment and
started again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from prefect import Task, flow
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import task_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.batches import FINAL, Future, Loss, batched, drive, fail_alone, run_batch
from flows.context import Context
from flows.legs import LEGS, RECORDED, SPECS
from flows.opened import context_of, open_build
from flows.progress import Gauge, tell_end
from flows.result import Result, end_of, result_of
from flows.settings import BuildSettings, RunSettings
from tasks.outcome import of_the_world
from tasks.spec import StageSpec
from tasks.stages import STAGES
from tasks.store.lock import build_lock

RUNNER: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=64)
"""`run.workers` bounds what is under way, not the pool."""

BatchTask = Task[[str, str, int, list[str]], list[str]]


def _name_of_batch() -> str:
    given = task_run.parameters
    return f"{given['stage']}[{given['number']:04d}] {len(given['keys'])} {SPECS[given['stage']].unit}"


def _run_batch(out: str, stage: str, number: int, keys: list[str]) -> list[str]:  # noqa: ARG001 number is in the name
    return run_batch(context_of(out), stage, keys)


def _run_whole(out: str, stage: str) -> list[str]:
    whole = SPECS[stage].whole
    assert whole is not None
    return [f"{stage}: {line}" for line in whole(context_of(out).at_work(stage))]


BATCHES: dict[str, BatchTask] = {
    spec.name: Task(
        _run_batch, name=spec.name, task_run_name=_name_of_batch, cache_policy=NO_CACHE, persist_result=False
    )
    for spec in STAGES
    if spec.batch
}
"""One Prefect task per stage. Its parameters are plain and small: any process that reaches the store can run it."""

WHOLES: dict[str, Task[[str, str], list[str]]] = {
    spec.name: Task(_run_whole, name=spec.name, task_run_name=spec.name, cache_policy=NO_CACHE, persist_result=False)
    for spec in STAGES
    if spec.whole
}
"""The stages that see everything at once, one task each."""


@flow(
    name="build",
    flow_run_name="build {settings.source} into {settings.out}",
    task_runner=RUNNER,
    persist_result=False,
)
def build(settings: BuildSettings) -> Result | State[Result]:
    """Raw videos to verified shards. Whatever is on record already is not done again."""
    with build_lock(settings.out):
        return pipeline(open_build(settings), STAGES)


def pipeline(context: Context, stages: Sequence[StageSpec]) -> Result | State[Result]:
    """These stages over what is pending, inside a flow run. The caller holds the folder's lock."""
    began = time.perf_counter()
    gauge = Gauge(context)
    gauge.told += context.mend()
    ahead = context.ahead([spec.name for spec in stages if spec.batch])
    context.make_ready(ahead)
    tasks = tasks_of(ahead, context.settings.run)
    try:
        for leg in LEGS:
            if leg[0].whole and leg[0] in stages:
                run_whole(context, gauge, leg[0].name)
            elif mine := {spec.name: tasks[spec.name] for spec in leg if spec.name in tasks}:
                go(context, gauge, mine, unfinished(context, list(mine)))
    finally:
        gauge.told += context.mend()  # damage within a part shows when it is read
        told = gauge.tell()
    gauge.show(last=True)
    result = result_of(context, began, told)
    tell_end(result)
    return end_of(result)


def run_whole(context: Context, gauge: Gauge, stage: str) -> None:
    """Run a stage that sees everything, unless something before it is pending that it would have to see.

    A stage with rows decides for good, so it waits. Shards and report go on with what is there.
    """
    if SPECS[stage].record:
        waits = [before for before in RECORDED[: RECORDED.index(stage)] if context.pending(before)]
        if waits:
            gauge.told.append(f"{stage}: left out, for {waits[0]} has not seen all; it decides when that is done")
            return
    gauge.told += WHOLES[stage](context.settings.out, stage)


def go(context: Context, gauge: Gauge, tasks: Mapping[str, BatchTask], keys: Sequence[str]) -> None:
    """Drive `keys` through the stages of `tasks` in batches, each batch and stage a Prefect task."""
    if not keys:
        return
    run, stages = context.settings.run, list(tasks)

    def submit(stage: str, number: int, keys: list[str], done: Callable[[], None]) -> Future:
        future = tasks[stage].submit(context.settings.out, stage, number, keys)
        future.add_done_callback(lambda _: done())
        return future

    size = {"files": run.files_batch, "videos": run.sources_batch, "clips": run.batch}[SPECS[stages[0]].unit]
    lost = list[Loss]()
    try:
        drive(batched(keys, size, stages), submit, run.workers, run.give_up_after, gauge.show, lost)
        fail_alone(context, lost)
    finally:
        gauge.lost += lost
    for stage in stages:
        context.store(stage).compact()


def worth_another_try(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether Prefect should run a failed batch again: only where the world failed it, and may do better."""
    try:
        state.result()
    except FINAL:
        return False
    except Exception as error:
        return of_the_world(error)
    return False


def tasks_of(stages: Sequence[str], run: RunSettings) -> dict[str, BatchTask]:
    """The tasks of these stages with the build's retries, made once a run: each copy of a task parses its source anew,
    and a server that dies later takes no work with it.

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
            tasks[stage] = BATCHES[stage].with_options(**options)
    return tasks


def unfinished(context: Context, stages: Sequence[str]) -> list[str]:
    """Keys that some stage of these has still to see, clips of one source side by side.

    Every stage reads a batch's clips from the rows of their sources: in any other order each lies in a row group of its
    own, and reading them costs more than all else.
    """
    pending = dict.fromkeys(key for stage in stages for key in context.pending(stage))
    return context.store("ingest").by_place(pending) if SPECS[stages[0]].unit == "clips" else list(pending)
