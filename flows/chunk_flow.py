"""The flow that takes one chunk through some stages, batch by batch; a build runs one a chunk.

    build                in this process, chunk after chunk
    run.pools            each by a worker of the pool that its stages are given to (flows/server/pools.py)

Every stage's chunk is worked on under its lease, so that no two runs are at the same rows.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from prefect import Task, flow
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.runtime import flow_run, task_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.batches import FINAL, Account, Future, Loss, batched, drive, fail_alone, run_batch
from flows.chunk import Chunk
from flows.legs import SPECS
from flows.opened import chunk_at, join_build, name_of, under_work
from flows.progress import Gauge, tell, tell_losses
from flows.result import GAVE_UP, INCOMPLETE
from flows.runners import holding, runner_of
from flows.server.breaker import trips
from flows.server.events import emit_stage_event
from flows.server.limits import require, slot
from flows.settings import BuildSettings, RunSettings
from flows.survey import Survey
from schemas.text import one_line
from tasks.outcome import of_the_world
from tasks.stages import STAGES
from tasks.store.lease import Lease, holder_of

RUNNER: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1)
"""Of our flows: batches go to the runner of their chunk, all else runs in the flow's own thread."""


@dataclass(frozen=True)
class Where:
    """What a task has to know besides its keys. Plain and small: any process that reaches the store can run it."""

    out: str
    build: str
    chunk: str
    place: str
    token: str
    epoch: int


class _InOneLine(logging.Filter):
    """Of what the world fails Prefect's log gets a line: where in our code it was met helps nobody to mend it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None and of_the_world(record.exc_info[1]):
            record.exc_info = None
        return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_InOneLine())

BatchTask = Task[[Where, str, int, list[str]], list[str]]


def _name_of_batch() -> str:
    given = task_run.parameters
    return f"{given['stage']}[{given['number']:04d}] {len(given['keys'])} {SPECS[given['stage']].unit}"


def _run_batch(where: Where, stage: str, number: int, keys: list[str]) -> list[str]:  # noqa: ARG001 number is in the name
    with chunk_at(where.out, where.build, where.chunk, where.place, where.token, where.epoch) as chunk:
        with slot(stage, chunk.context.settings.run.limits):
            began, account = time.perf_counter(), Account(leg=where.token[:8])
            accepted = run_batch(chunk, stage, keys, account)
        reasons = chunk.store(stage).rejected()
        why = Counter(reasons[key] for key in keys if key in reasons)
        ended = [f"{len(accepted)} of {len(keys)} accepted", *(f"{n} {reason}" for reason, n in sorted(why.items()))]
        cost = f"; {account.usage.line()}" if account.usage else ""
        get_run_logger().info("%s in %.1f s%s", ", ".join(ended), time.perf_counter() - began, cost)
        return accepted


BATCHES: dict[str, BatchTask] = {
    spec.name: Task(
        _run_batch, name=spec.name, task_run_name=_name_of_batch, cache_policy=NO_CACHE, persist_result=False
    )
    for spec in STAGES
    if spec.batch
}
"""One Prefect task per stage."""


@dataclass
class ChunkEnd:
    """How a run over one chunk ended."""

    lost: list[Loss] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


gauges: list[Gauge] = []
"""That of the build which runs in this process, if one does: a chunk's run shows the whole funnel through it."""

CHECKOUT = "MATRIX_DATA_CHECKOUT"
"""Environment variable of workers: the folder that they were started in. Prefect runs their flows in an empty one,
where the settings' relative paths, of weights say, lead nowhere."""


def name_of_run(name: str, stages: Sequence[str]) -> str:
    """What a run over a chunk is called."""
    return f"chunk {name}: {stages[0]}" + (f" to {stages[-1]}" if len(stages) > 1 else "")


def _name_of_run() -> str:
    given = flow_run.parameters
    return name_of_run(given["name"], given["stages"])


@flow(name="chunk", flow_run_name=_name_of_run, task_runner=RUNNER, persist_result=False)
def chunk(settings: BuildSettings, stages: list[str], name: str) -> ChunkEnd | State[Any]:
    """Take what is pending in a chunk through these stages."""
    return _chunk(settings, stages, name)  # Ray pickles the flow with all that its own code names, so that is little


def _chunk(settings: BuildSettings, stages: list[str], name: str) -> ChunkEnd | State[Any]:
    if gauges:
        gauge = gauges[-1]
    else:
        os.chdir(os.environ.get(CHECKOUT, "."))
        gauge = Gauge(Survey(join_build(settings), name))
    context = gauge.survey.context
    end = ChunkEnd()
    try:
        work_through(Chunk(context, name), stages, gauge, end, ready=bool(gauges))
    except Exception as error:
        if gauges or not trips(error):
            raise
        return State(type=StateType.FAILED, name=GAVE_UP, message=one_line(error, 4000), data=error)
    finally:
        lines = tell_losses(context.out.uri, end.lost, end.told)
    if any(gauge.survey.look().of_chunk(stage, name).pending for stage in stages):
        message = "; ".join([*lines, "something is left pending: run it again"])[:4000]
        return State(type=StateType.FAILED, name=INCOMPLETE, message=message, data=end)
    return end


def work_through(chunk: Chunk, stages: Sequence[str], gauge: Gauge, end: ChunkEnd, ready: bool) -> None:
    """Drive the chunk's pending keys through the stages in batches, each batch and stage a Prefect task.

    ready: whether the engines have been loaded. The leases come first, for a run without one is taken for dead.
    """
    context, run = chunk.context, chunk.context.settings.run
    with ExitStack() as held:
        leases: dict[str, Lease] = {}
        for stage in stages:
            mine = held.enter_context(context.lease(stage, chunk.name))
            if mine is None:
                who = holder_of(context.folder, context.place(stage, chunk.name)) or "it has just ended"
                end.told.append(f"{stage}: chunk {chunk.name} is left to who works on it ({who})")
                break
            leases[stage] = mine
        if not ready:
            context.make_ready(list(leases), gauge.survey.begun)
        for stage in leases:
            end.told += chunk.store(stage).mend()
        build = name_of(context.settings)
        where = {
            stage: Where(context.settings.out, build, chunk.name, mine.name, mine.token, mine.epoch)
            for stage, mine in leases.items()
        }
        for place in where.values():
            held.enter_context(under_work(chunk, place.place))
        tasks, runner = tasks_of(list(leases), run), held.enter_context(runner_of(run))

        def submit(stage: str, number: int, keys: list[str], done: Callable[[], None]) -> Future:
            given = {"where": where[stage], "stage": stage, "number": number, "keys": keys}
            with holding(run, stage):
                future: PrefectFuture[list[str]] = runner.submit(tasks[stage], given)
            future.add_done_callback(lambda _: done())
            return future

        try:
            for some in _runs(list(leases), run.stage_by_stage):
                keys = sorted({key for stage in some for key in chunk.pending(stage)})
                size = len(keys) if SPECS[some[0]].together else run.size_of(SPECS[some[0]].unit)
                lost = list[Loss]()
                try:
                    drive(batched(keys, max(size, 1), some), submit, run.workers, run.give_up_after, gauge.show, lost)
                    _take_in(chunk, run)
                    fail_alone(chunk, lost)
                finally:
                    end.lost += lost
                if run.stage_by_stage:
                    context.release(some[0])
        finally:
            _take_in(chunk, run)
            if run.task_runner == "ray":
                _gather_replies(chunk, list(leases))
            end.told += chunk.close_replies()
            for stage in leases:
                end.told += chunk.store(stage).mend()  # damage within a part shows when it is read
                chunk.store(stage).compact()
            survey = gauge.survey.look()
            for stage in leases:
                survey.settle(stage, chunk.name)
                line = survey.of_chunk(stage, chunk.name)
                tell("an event", lambda line=line: emit_stage_event(context.out.uri, line, chunk.name))  # type: ignore[misc]
    _see_to_damage(chunk, gauge.survey)
    end.told += recut(chunk)


def _take_in(chunk: Chunk, run: RunSettings) -> None:
    """The rows that Ray's processes have written: what comes next is pending only once they are seen."""
    if run.task_runner == "ray":
        chunk.refresh()


def _gather_replies(chunk: Chunk, stages: Sequence[str]) -> None:
    """Other processes have asked: in a bucket each has left what it was answered in a file of its own."""
    for stage in stages:
        if not chunk.context.folder.local and SPECS[stage].engines:
            chunk.replies(stage).gather()


def _runs(stages: Sequence[str], apart: bool) -> list[list[str]]:
    """The stages that a batch goes through one after the other, and those that take all of a chunk at once.

    apart: each by itself.
    """
    runs: list[list[str]] = []
    for stage in stages:
        if runs and not SPECS[stage].together and not apart:
            runs[-1].append(stage)
        else:
            runs.append([stage])
    return runs


def _see_to_damage(chunk: Chunk, survey: Survey) -> None:
    """Rows of earlier stages that could not be read are counted anew, so that the next run of these finds them."""
    for spec in STAGES:
        if spec.record and chunk.opened(spec.name) and chunk.store(spec.name).damaged:
            survey.unsettle(spec.name, chunk.name)


def recut(chunk: Chunk) -> list[str]:
    """Take the rows of sources whose clips are gone off ingest's record, so that the next build makes them again."""
    if not chunk.gone:
        return []
    ingest = chunk.context.store("ingest")
    return [f"ingest: {ingest.forget({clip.source.source_id for clip in chunk.gone.values()})} videos are cut again"]


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
    """The tasks of these stages with the build's retries, made once a run: each copy of a task parses its source anew.

    UserError where the server lacks a limit that the settings name.
    """
    if limits := {stage: slots for stage, slots in run.limits.items() if stage in stages}:
        with get_client(sync_client=True) as server:
            require(server, limits)
    return {
        stage: BATCHES[stage].with_options(
            retries=run.retries, retry_delay_seconds=run.retry_delay_s, retry_condition_fn=worth_another_try
        )
        for stage in stages
    }
