"""Flows as deployments start them (prefect.yaml): the run form asks for a profile and what differs from it.

`build` and the stages are the flows of `flows.build` and `flows.stages`; beside them stand `check` (re-hashes a
dataset), `report` (writes it anew) and `fit` (trains). Entrypoints: `flows/deployed.py:<name>`.
"""

from typing import Annotated

from prefect import Flow, flow, get_run_logger
from prefect.client.schemas.objects import State
from pydantic import Field

import flows.build
import flows.stages
from flows.chunk_flow import RUNNER
from flows.cli.keep import verify_any
from flows.fitting import run_fit
from flows.opened import context_of
from flows.progress import tell_pause, tell_waiting
from flows.result import Result, waits_for_people
from flows.resume import resume_command
from flows.server.breaker import DECIDE, suspend, trips
from flows.server.pools import end_chunks
from flows.settings import PROFILES, BuildSettings, load_settings
from schemas.text import one_line
from tasks.errors import UserError
from tasks.stages import STAGES

Profile = Annotated[str, Field(json_schema_extra={"enum": sorted(path.stem for path in PROFILES.glob("*.yaml"))})]

Built = Result | State[Result]


def deployed(inner: Flow[[BuildSettings], Built]) -> Flow[[str, str, str | None, str, list[str]], Built]:
    """The same flow, under its own name, with a profile and changes in the run form instead of every setting."""

    @flow(
        name=inner.name,
        flow_run_name=f"{inner.name} {{source}} into {{out}}",
        task_runner=RUNNER,
        persist_result=False,
        on_crashed=[end_chunks],
        on_cancellation=[end_chunks],
    )
    def run(
        source: str,
        out: str,
        captions: str | None = None,
        profile: Profile = "local",
        changes: list[str] = [],  # noqa: B006 Prefect shows it as the form's default
    ) -> Built:
        """What the form says of each field.

        Args:
            source: folder or bucket of raw videos, any fsspec URL
            out: folder or bucket of the store, the dataset and the report
            captions: caption table: CSV, JSON, JSONL or Parquet
            profile: the settings to begin with, a file in profiles/
            changes: settings that differ from the profile's, each as a.b=c
        """
        settings = load_settings(profile, changes, source=source, captions=captions, out=out)
        try:
            ended = inner.fn(settings)
        except Exception as error:
            if trips(error):
                tell_pause(out, one_line(error, 1000), resume_command(settings))
                suspend(one_line(error, 1000))
            raise
        result = ended.data if isinstance(ended, State) else ended
        if settings.review.wait and isinstance(result, Result) and waits_for_people(result):
            why = one_line("; ".join(result.told), 1000)
            tell_waiting(settings.out, why, settings.review.url)
            suspend(why, DECIDE)
        return ended

    return run


build = deployed(flows.build.build)

globals().update({spec.name: deployed(getattr(flows.stages, spec.name)) for spec in STAGES if spec.name != "report"})


@flow(name="report", flow_run_name="report of {out}", task_runner=RUNNER, persist_result=False)
def report(out: str) -> Built:
    """Write the report of a build anew, with the settings that the build had.

    Args:
        out: the out folder of a build
    """
    stage: Flow[[BuildSettings], Built] = flows.stages.report  # type: ignore[attr-defined] # made from the list of stages
    return stage.fn(context_of(out).settings)


@flow(name="check", flow_run_name="check {dataset}", persist_result=False)
def check(dataset: str) -> None:
    """Re-hash every shard and check every entry, as `matrix_data verify` does; fails where it finds a problem.

    Args:
        dataset: a dataset folder, or the out folder of a build
    """
    problems = verify_any(dataset)
    for problem in problems:
        get_run_logger().error("%s", problem)
    if problems:
        raise UserError(f"{len(problems)} problems in {dataset}, first: {problems[0]}")


@flow(name="fit", flow_run_name="fit {config}", persist_result=False)
def fit(config: str, changes: list[str] = [], resume: bool = True) -> None:  # noqa: B006
    """Train as `matrix_train fit` does, in a process of its own; its lines are the run's log.

    Args:
        config: training configuration, e.g. configs/cogvideox_5b_i2v.yaml
        changes: settings that differ from it, each as a.b=c
        resume: go on from the newest checkpoint, if there is one
    """
    run_fit(config, changes, resume, get_run_logger().info)
