"""What runs a chunk's batches: threads of this process, or Ray (docs/prefect.md, "Ray inside a chunk")."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.settings import RunSettings
from tasks.errors import UserError


def runner_of(run: RunSettings) -> TaskRunner[Any]:
    """What runs a chunk's batches. `run.workers` bounds what is under way, not the pool of threads.

    UserError where Ray is asked for and not installed. The cluster is the one of RAY_ADDRESS, else one of this machine.
    """
    if run.task_runner == "threads":
        return ThreadPoolTaskRunner(max_workers=run.workers)
    try:
        from prefect_ray import RayTaskRunner
    except ImportError:
        raise UserError("run.task_runner=ray needs the extra `ray`: pip install 'matrix-11k[ray]'") from None
    ray: TaskRunner[Any] = RayTaskRunner()
    return ray


def on_one_cluster(run: RunSettings) -> AbstractContextManager[object]:
    """Chunks that begin within are one job on Ray, whose processes keep their engines from one to the next."""
    return runner_of(run) if run.task_runner == "ray" else nullcontext()


def holding(run: RunSettings, stage: str) -> AbstractContextManager[object]:
    """A batch that is submitted within holds the GPUs that its stage is given on Ray."""
    if run.task_runner == "threads" or stage not in run.gpus:
        return nullcontext()
    from prefect_ray.context import remote_options

    held: AbstractContextManager[object] = remote_options(num_gpus=run.gpus[stage])
    return held
