"""The end of a build: shards, report, and the result that the command line prints."""

import json
import shlex
import time
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from flows.context import Plan
from flows.progress import funnel
from flows.settings import BuildSettings
from schemas import Reason, Record
from tasks.dedupe.stage import nearest_of
from tasks.outcome import Case
from tasks.report import ReportData, write_report
from tasks.shard.groups import Kin
from tasks.shard.stage import write_dataset
from tasks.store.places import without_credentials


class StageResult(Record):
    """One stage's numbers: `arrived = accepted + rejected + pending`."""

    arrived: int = Field(serialization_alias="in")
    accepted: int
    rejected: dict[str, int]
    pending: int


class Result(Record):
    """What a build leaves behind. `dataset` is None where no clip was accepted."""

    dataset: str | None
    report: str
    funnel: dict[str, StageResult]
    pending: int = Field(description="clips, videos and files that an infrastructure failure left for the next run")
    seconds: float

    def lines(self) -> list[str]:
        """For people."""
        left = [f"{self.pending} pending: run the same command again"] if self.pending else []
        return [
            f"dataset  {self.dataset or 'none: no clip was accepted, see the report'}",
            f"report   {self.report}",
            *left,
            f"{self.seconds:.1f} s",
        ]


def run_shard(plan: Plan) -> None:
    """Write the accepted clips that are in no shard yet."""
    store = plan.store("curate")
    keys = store.accepted()
    if not keys:
        return

    def load(clip_id: str) -> Case:
        return plan.cases([clip_id], "shard")[0]

    ingest = plan.store("ingest")
    near = {row.key: other for rows in plan.store("dedupe").scan() for row in rows if (other := nearest_of(row))}
    kin = Kin(ingest.links(), near)
    keys = [k for k in keys if k in kin.source_of]
    dest = plan.out.below(plan.dataset)
    done = write_dataset(keys, load, kin, plan.work, dest, plan.settings.shard, plan.fingerprints)
    ingest.forget(ingest.leading_to(c.key for c in done.left_out if c.reason is Reason.CLIP_LOST))


def run_report(plan: Plan) -> None:
    """Write `report.html` from the funnel and the shards."""
    kinds = ("language", "captioner", "detector", "verifier", "tracker")
    data = ReportData(
        funnel=funnel(plan),
        dataset=plan.out.below(plan.dataset),
        source=without_credentials(plan.settings.source),
        models={kind: engine.identity for kind in kinds if (engine := plan.engine(kind)) is not None},
        fingerprints=plan.fingerprints,
        resume=resume_command(plan.settings),
    )
    write_report(data, plan.out)


def resume_command(settings: BuildSettings) -> str:
    """The command that goes on with a build, without secrets: every setting that is not the default stands in it."""
    words = ["matrix_data", "build", without_credentials(settings.source)]
    words += ["--captions", without_credentials(settings.captions)] if settings.captions else []
    words += ["--out", settings.out]
    given = {"source", "captions", "out"}
    plain = BuildSettings(source=settings.source, out=settings.out).model_dump(mode="json", exclude=given)
    for name, value in _changed(settings.model_dump(mode="json", exclude=given), plain):
        words += ["--set", f"{name}={json.dumps(value)}"]
    return shlex.join(words)


def _changed(now: dict[str, Any], before: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings that differ, as (dotted name, value)."""
    for name, value in now.items():
        if isinstance(value, dict) and isinstance(old := before.get(name), dict) and set(value) == set(old) != set():
            yield from ((f"{name}.{below}", what) for below, what in _changed(value, old))
        elif name not in before or value != before[name]:
            yield name, value


def finish(plan: Plan, began: float) -> Result:
    """The result of the build, counted from the store."""
    lines = funnel(plan)
    stages = {
        t.stage: StageResult(arrived=t.arrived, accepted=t.accepted, rejected=t.rejected, pending=t.pending)
        for t in lines
    }
    done = plan.out.below(plan.dataset).exists("dataset.json")
    return Result(
        dataset=plan.out.path(plan.dataset) if done else None,
        report=plan.out.path("report.html"),
        funnel=stages,
        pending=sum(t.pending for t in lines),
        seconds=round(time.perf_counter() - began, 3),
    )
