"""The whole pipeline as one Prefect flow: every stage of `tasks.stages`, in order.

    matrix_data build SOURCE --captions FILE --out FOLDER      (the same flow, run here)
    prefect --no-prompt deploy --all                           (prefect.yaml: scheduled, run by a worker)

Prefect schedules, shows, retries and limits. What is done stands in the store, so a run may be killed at any moment and
started again.
"""

import time
from collections.abc import Sequence
from typing import Literal

from prefect import Task, flow
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.batches import Loss
from flows.chunk_flow import RUNNER, ChunkEnd, chunk, gauges
from flows.context import MARKS, Context
from flows.legs import LEG_OF, LEGS, RECORDED, SPECS
from flows.opened import check_out, context_of, name_of, open_build
from flows.progress import Gauge, tell, tell_end, tell_losses, tell_summary
from flows.result import Result, end_of, result_of
from flows.runners import on_one_cluster
from flows.server.pools import on_pools, run_on_pools
from flows.settings import BuildSettings
from flows.summary import summary
from tasks.scan.cutting import cut_listing
from tasks.spec import StageSpec
from tasks.stages import STAGES
from tasks.store.lease import alone

Part = Literal["whole", "before", "after"]


def _run_whole(out: str, build: str, stage: str, part: Part) -> list[str]:
    context = context_of(out, build)
    run = getattr(SPECS[stage], part)
    return [f"{stage}: {line}" for line in run(context.at_work(stage))]


WHOLES: dict[tuple[str, Part], Task[[str, str, str, Part], list[str]]] = {
    (spec.name, part): Task(
        _run_whole,
        name=spec.name if part == "whole" else f"{spec.name}, {part} its batches",
        task_run_name=spec.name if part == "whole" else f"{spec.name}, {part} its batches",
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    for spec in STAGES
    for part in ("whole", "before", "after")
    if getattr(spec, part)
}
"""What sees everything at once, one task each."""


@flow(
    name="build",
    flow_run_name="build {settings.source} into {settings.out}",
    task_runner=RUNNER,
    persist_result=False,
)
def build(settings: BuildSettings) -> Result | State[Result]:
    """Raw videos to verified shards. Whatever is on record already is not done again."""
    check_out(settings)  # a lease is written
    with alone(settings.out):
        return pipeline(open_build(settings), STAGES)


class Run:
    """One run of some stages over a build."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.survey = context.survey()
        self.began_with = self.survey.state_of_all()
        """Over which rows: a run that adds none has nothing new to show."""
        self.gauge = Gauge(self.survey)
        self.lost: list[Loss] = []
        self.told: list[str] = []
        self.ready = set[str]()
        """Stages whose engines were made ready: a served one is asked a question for it."""

    def leg(self, specs: Sequence[StageSpec]) -> None:
        """Take every chunk that has something pending through these stages."""
        context, stages = self.context, _of(specs)
        for spec in specs:
            if spec.before:
                self.whole(spec.name, "before")
        self.survey.look()
        pending = {name: None for stage in stages for name in self.survey.pending(stage)}
        chunks = sorted(pending, key=lambda name: (len(name), name))
        for stage in stages:
            for name in self.survey.unsettled(stage):
                with context.lease(stage, name) as mine:
                    if mine and name not in pending:
                        self.survey.settle(stage, name)
        if chunks:
            self.make_ready(stages)
            if on_pools(context.settings, stages):
                self.told += run_on_pools(context.settings, stages, chunks, self.gauge)
            else:
                with on_one_cluster(context.settings.run):
                    for name in chunks:
                        self.chunk(stages, name)
        for spec in specs:
            if spec.after:
                self.survey.look()
                if not self.survey.settled(spec.name) or (spec.stale and spec.stale(context.at_work(spec.name))):
                    self.whole(spec.name, "after")

    def make_ready(self, stages: Sequence[str]) -> None:
        """Load the engines of what is to be done here, before a clip is touched. UserError says what is wrong."""
        here = [s for s in self.survey.ahead(stages) if not on_pools(self.context.settings, _of(LEG_OF[s]))]
        fresh = [stage for stage in here if SPECS[stage].engines and stage not in self.ready]
        self.context.make_ready(fresh, self.survey.begun)
        self.ready.update(fresh)

    def chunk(self, stages: list[str], name: str) -> None:
        """One chunk, in this process."""
        gauges.append(self.gauge)
        try:
            found = chunk(self.context.settings, stages, name, return_state=True).result(raise_on_failure=False)
        finally:
            gauges.pop()
        if isinstance(found, BaseException):
            raise found
        assert isinstance(found, ChunkEnd)
        self.lost += found.lost
        self.told += found.told

    def list_source(self) -> None:
        """Put on record what is at the source now."""
        context = self.context
        with context.lease(RECORDED[0]) as mine:
            if mine is None:
                self.told.append(f"{RECORDED[0]}: another run is listing {context.settings.source}")
                return
            scan = context.folder.below(context.place(RECORDED[0]))
            cut_listing(context.list_source(), scan, context.settings.run.chunk)

    def whole(self, stage: str, part: Part = "whole") -> None:
        """Run what sees everything, where there is something new to see.

        A stage with rows decides for good, so it waits for all that is pending before it. Report goes on with what is
        there.
        """
        survey, decides = self.survey.look(), part == "whole" and stage in RECORDED
        if decides:
            waits = [before for before in RECORDED[: RECORDED.index(stage)] if survey.tally(before).pending]
            if waits:
                self.told.append(f"{stage}: left out, for {waits[0]} has not seen all; it decides when that is done")
                return
        mark = "" if stage in RECORDED else f"{MARKS}/{stage}-{survey.state_of_all()}-{name_of(self.context.settings)}"
        seen = self.context.folder.exists(mark) if mark else part == "whole" and survey.settled(stage)
        stale = SPECS[stage].stale
        if seen and not (stale and stale(self.context.at_work(stage))):
            return
        with self.context.lease(stage) as mine:
            if mine is None:
                self.told.append(f"{stage}: left to the run that is at it")
                return
            if decides:
                self.told += self.context.store(stage).mend()
            survey.look()
            self.told += WHOLES[stage, part](self.context.settings.out, name_of(self.context.settings), stage, part)
            if mark:
                for old in self.context.folder.names(MARKS):
                    self.context.folder.remove(f"{MARKS}/{old}") if old.startswith(f"{stage}-") else None
                self.context.folder.write(mark, b"")
            elif part != "before":
                if decides:  # of the others what was there before: it has not seen what has come meanwhile
                    survey.look(stage)
                    for name in survey.chunks(stage):
                        survey.settle(stage, name)
                survey.settle(stage)


def _of(specs: Sequence[StageSpec]) -> list[str]:
    return [spec.name for spec in specs]


def pipeline(context: Context, stages: Sequence[StageSpec]) -> Result | State[Result]:
    """These stages over what is pending, inside a flow run."""
    began = time.perf_counter()
    run, names = Run(context), _of(stages)
    if RECORDED[0] in names:
        run.list_source()
        run.survey.look()
    run.make_ready([name for name in names if name in RECORDED])
    try:
        for leg in LEGS:
            mine = [spec for spec in leg if spec in stages]
            if mine and leg[0].whole:
                run.whole(leg[0].name)
            elif mine:
                run.leg(mine)
    finally:
        told = tell_losses(context.out.uri, run.lost, run.told)
    run.gauge.show(last=True)
    lines = run.survey.funnel()
    result = result_of(context, lines, began, told)
    tell_end(result)
    if run.survey.state_of_all() != run.began_with:
        tell(
            "the artifact `summary`", lambda: tell_summary(context.out.uri, summary(context, run.survey, lines, result))
        )
    return end_of(result)
