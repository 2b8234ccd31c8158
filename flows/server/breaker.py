"""The breaker: where the world fails again and again, a run of a deployment is suspended with the reason. So is one
that has nothing to do until people have decided (`review.wait`).

Suspended and not paused: a paused run stays in its worker's process, with its memory, its GPU and its leases, and
polls; a suspended one ends. Its leases are given back, the worker takes other runs, and Resume in the UI starts it anew
on any worker, where it goes on from the store. What has no deployment cannot be started again by the server, and a run
over one chunk is begun by a build, which is suspended in its place: both end as failed, with the reason.
"""

import uuid

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactCollectionFilter,
    ArtifactCollectionFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.states import Suspended

from flows.batches import GaveUpError
from flows.progress import waiting_key
from tasks.errors import NotReady, StopRun
from tasks.store.lease import LeaseLost

ADVICE = "nothing done is lost: mend it and press Resume"
DECIDE = "nothing done is lost: it goes on when people have decided, or press Resume"


def trips(error: BaseException) -> bool:
    """Whether an error that ends a run says that every other batch would meet the same, until somebody mends it."""
    return isinstance(error, GaveUpError | StopRun | NotReady) and not isinstance(error, LeaseLost)


def suspend(why: str, advice: str = ADVICE) -> None:
    """Suspend the flow run under way and leave it, by Prefect's `Pause`; call it when no lease is held any more.

    Returns where that is not possible: the run has no deployment, or its server does not answer.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    run = context.flow_run
    state: State[None] = Suspended(message=f"{why}; {advice}", pause_key=uuid.uuid4().hex)
    try:
        with get_client(sync_client=True) as server:
            taken = server.set_flow_run_state(run.id, state)
    except httpx.HTTPError:
        return
    if taken.state is not None and taken.state.is_paused():
        raise Pause(state=taken.state)


def go_on(server: SyncPrefectClient, out: str) -> str | None:
    """Resume the run that waits for people to decide over the dataset at `out`; a line on it, None where none does.

    out: as the run's settings have it. A run that is under way again is told of and left alone, so this may be asked
    any number of times. httpx.HTTPError where the server does not answer.
    """
    key = ArtifactCollectionFilterKey(any_=[waiting_key(out)])
    told = server.read_latest_artifacts(artifact_filter=ArtifactCollectionFilter(key=key))
    waited = FlowRunFilterId(any_=[one.flow_run_id for one in told if one.flow_run_id])
    run = next(iter(server.read_flow_runs(flow_run_filter=FlowRunFilter(id=waited))), None)
    if run is None or run.state is None or run.state.is_final():
        return None
    if run.state.is_paused():
        if not (run.state.message or "").endswith(DECIDE):
            return f"flow run {run.name} is suspended: {run.state.message}"
        server.resume_flow_run(run.id)  # of two who ask at once, the second changes nothing
    return f"flow run {run.name} goes on"
