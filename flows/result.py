"""What a build leaves behind, as the command line prints it and as the state that its flow run ends in."""

import time
from collections.abc import Sequence

from prefect.client.schemas.objects import State, StateType
from pydantic import Field

from flows.context import Context
from flows.tally import COLUMNS, Tally, as_line
from schemas import Reason, Record

INCOMPLETE = "Incomplete"
"""Name of the state of a run that left something pending. Its type is FAILED, so that automations see it."""

GAVE_UP = "GaveUp"
"""Name of the state of a chunk's run on a work pool that the breaker ended: the build that began it gives up too."""


REASONS = 3
"""How many reasons are named where nothing was accepted."""

TO_DO: dict[str, str] = {
    Reason.NO_CAPTION: "give --captions, or a profile with a captioner such as --profile laptop",
}
"""What mends a reason that is the command's and not the videos'; docs/reasons.md has them all."""


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
    reasons: tuple[str, ...] = Field(
        default=(), description="where no clip was accepted, the most frequent reasons, a line each"
    )
    told: tuple[str, ...] = Field(default=(), description="what left them, and what else is to be known, a line each")
    seconds: float

    def lines(self) -> list[str]:
        """For people: the funnel without its reasons and times, which `matrix_data status` has, and what came of it."""
        counts = {n: (s.arrived, s.accepted, sum(s.rejected.values()), s.pending) for n, s in self.funnel.items()}
        left = [f"{self.pending} pending: run the same command again"] if self.pending else []
        return [
            as_line("stage", *list(COLUMNS)[:4]),
            *(as_line(stage, *numbers) for stage, numbers in counts.items()),
            f"dataset  {self.dataset or 'none: no clip was accepted'}",
            *(f"         {line}" for line in self.reasons),
            f"report   {self.report}",
            *self.told,
            *left,
            f"{self.seconds:.1f} s",
        ]


def result_of(context: Context, lines: Sequence[Tally], began: float, told: Sequence[str] = ()) -> Result:
    """The result of a run. lines: the funnel at its end; began: its start on `time.perf_counter`."""
    stages = {
        t.stage: StageResult(arrived=t.arrived, accepted=t.accepted, rejected=t.rejected, pending=t.pending)
        for t in lines
    }
    dataset = context.dataset.uri if context.dataset.exists("dataset.json") else None
    return Result(
        dataset=dataset,
        report=context.out.shown("report.html"),
        funnel=stages,
        pending=sum(t.pending for t in lines),
        reasons=() if dataset else tuple(_most_frequent(context, lines)),
        told=tuple(told),
        seconds=round(time.perf_counter() - began, 3),
    )


def _most_frequent(context: Context, lines: Sequence[Tally]) -> list[str]:
    """What rejected most, REASONS of them, each with what it means and, where that is known, what to do."""
    found = sorted(((-n, t.stage, why) for t in lines for why, n in t.rejected.items()))[:REASONS]
    told = []
    for less, stage, why in found:
        advice = f": {TO_DO[why]}" if why in TO_DO else ""
        told.append(f"{stage}: {why} {-less}, {context.meaning(stage, why)}{advice}")
    return told


def waits_for_people(result: Result) -> bool:
    """Whether all that is pending waits for people: to run again before they have decided would change nothing."""
    review = result.funnel.get("review")
    return review is not None and review.pending == result.pending > 0


def end_of(result: Result) -> Result | State[Result]:
    """What a flow returns: the result, or a state of its own where something was left pending."""
    if not result.pending:
        return result
    message = "; ".join([*result.told, f"{result.pending} pending: run it again"])[:4000]
    return State(type=StateType.FAILED, name=INCOMPLETE, message=message, data=result)
