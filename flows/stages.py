"""One flow per stage, for people who schedule stages apart: each runs its stage over what is pending, and no other.

They may run side by side, and beside a build: a chunk that another run works on is left to it.

Entrypoints for `prefect deploy`: `flows/stages.py:scan`, `flows/stages.py:propose`, and so on by the stages' names.
"""

from prefect import Flow, flow
from prefect.client.schemas.objects import State

from flows.build import pipeline
from flows.chunk_flow import RUNNER
from flows.opened import open_build
from flows.result import Result
from flows.settings import BuildSettings
from tasks.spec import StageSpec
from tasks.stages import STAGES


def stage_flow(spec: StageSpec) -> Flow[[BuildSettings], Result | State[Result]]:
    """The flow that runs only this stage."""

    @flow(name=spec.name, task_runner=RUNNER, persist_result=False)
    def run_stage(settings: BuildSettings) -> Result | State[Result]:
        return pipeline(open_build(settings), [spec])

    return run_stage


globals().update({spec.name: stage_flow(spec) for spec in STAGES})
