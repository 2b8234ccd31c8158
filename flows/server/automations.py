"""The automation that ends flow runs whose worker died, so that nobody waits for them for ever.

A run of a deployment sends a heartbeat every `PREFECT_FLOWS_HEARTBEAT_FREQUENCY` seconds (180 where nothing is set).
One that has sent heartbeats and then nothing, no state either, for a while is marked Crashed; so is one that a worker
has taken and that has not begun. Needs the server's services.
"""

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

NAME = "matrix: end runs whose worker died"

TAG = "matrix"
"""Deployments with this tag are ours; runs of others on the server are left alone."""

UNHEARD_S = 540
"""Three heartbeats of Prefect's default: fewer would end runs that live."""


def end_unheard(seconds: float) -> AutomationCore:
    """The automation as it should be on the server. seconds: for how long nothing was heard of a run."""
    return AutomationCore(
        name=NAME,
        description="Made by `matrix_data automations --apply`.",
        trigger=EventTrigger(
            # A worker that dies, or hears nothing of the server, before the run's process is up leaves it in one of the
            # last two, without a heartbeat.
            after={"prefect.flow-run.heartbeat", "prefect.flow-run.Submitting", "prefect.flow-run.Pending"},
            # Any event of the run is a sign of life, also an end in a state of our own (`Incomplete`).
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                message=f"nothing was heard of it for {seconds:g} s: its worker or machine is gone",
                force=False,
            )
        ],
    )


def found(server: SyncPrefectClient) -> Automation | None:
    """The automation that the server has now."""
    return next(iter(server.read_automations_by_name(NAME)), None)


def same(there: Automation, wanted: AutomationCore) -> bool:
    """Whether the server's is what we want, and on."""
    return there.enabled and (there.trigger, there.actions) == (wanted.trigger, wanted.actions)


def put(server: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Make it, or make the one that is there like it."""
    if there := found(server):
        server.update_automation(there.id, wanted)
    else:
        server.create_automation(wanted)
