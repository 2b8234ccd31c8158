"""The breaker: where the world fails again and again, a run of a deployment is suspended with the reason. So is one
that has nothing to do until people have decided (`review.wait`).

Suspended and not paused: a paused run stays in its worker's process, with its memory, its GPU and its leases, and
polls; a suspended one ends. Its leases are given back, the worker takes other runs, and Resume in the UI starts it anew
on any worker, where it goes on from the store. What has no deployment cannot be started again by the server, and a run
over one chunk is begun by a build, which is suspended in its place: both end as failed, with the reason.
"""

import uuid

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.states import Suspended

from flows.batches import GaveUpError
from tasks.errors import NotReady, StopRun
from tasks.store.lease import LeaseLost

ADVICE = "nothing done is lost: mend it and press Resume"
DECIDE = "nothing done is lost: press Resume when people have decided"


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
