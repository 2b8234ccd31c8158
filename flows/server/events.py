"""What a build tells Prefect's event stream, for automations: one event a stage and chunk."""

import hashlib
import re

from prefect.events import emit_event

from flows.tally import Tally

DONE, PENDING = "matrix.stage.done", "matrix.stage.pending"
"""A stage went through all that it was given; something was left for the next run."""


def key_of(out: str) -> str:
    """A name of the dataset under `out` for artifacts and events: lower case, digits and dashes, unlike any other's."""
    readable = re.sub("[^a-z0-9]+", "-", out.lower()).strip("-")[-40:].strip("-")
    return f"{readable}-{hashlib.sha256(out.encode()).hexdigest()[:8]}".strip("-")


def emit_stage_event(out: str, line: Tally, chunk: str | None = None) -> None:
    """Tell that a stage has gone through a chunk, or through all there is. Costs no call to the server by itself.

    Resource: `matrix.dataset.<key_of(out)>`; related, with the role "stage": `matrix.stage.<name>`, and the flow run.
    Payload: the numbers of the funnel, `chunk` where it is one.
    """
    emit_event(
        event=PENDING if line.pending else DONE,
        resource={"prefect.resource.id": f"matrix.dataset.{key_of(out)}", "prefect.resource.name": out},
        related=[{"prefect.resource.id": f"matrix.stage.{line.stage}", "prefect.resource.role": "stage"}],
        payload={
            "stage": line.stage,
            "chunk": chunk,
            "in": line.arrived,
            "accepted": line.accepted,
            "rejected": line.rejected,
            "pending": line.pending,
            "seconds": round(line.seconds, 3),
        },
    )
