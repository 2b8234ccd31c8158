"""Limits on how many batches of a stage run at once, over every build, worker and machine of one Prefect server.

`run.limits` names the stages and their slots; `matrix_data limits --apply` puts them on the server, as global
concurrency limits `matrix-<stage>`. A batch of a stage that is named occupies a slot while it runs. Stages that are not
named ask the server for nothing (docs/decisions/0014).
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

from schemas.text import one_line
from tasks.errors import InfrastructureError, UserError

log = logging.getLogger(__name__)


def limit_name(stage: str) -> str:
    """The name of a stage's limit on the server."""
    return f"matrix-{stage}"


@dataclass(frozen=True)
class Limit:
    """A stage's limit as the settings want it, and as the server has it. `there` is None where it has none."""

    stage: str
    slots: int
    there: int | None

    def line(self) -> str:
        """For people."""
        if self.there is None:
            return f"{limit_name(self.stage)}: {self.slots} (new)"
        return f"{limit_name(self.stage)}: {self.slots}" + (f" (was {self.there})" if self.there != self.slots else "")


def compare(server: SyncPrefectClient, limits: Mapping[str, int]) -> list[Limit]:
    """Each stage of `run.limits` against the server."""
    return [Limit(stage, slots, _slots(server, stage)) for stage, slots in limits.items()]


def put(server: SyncPrefectClient, limits: Mapping[str, int]) -> None:
    """Make the server's limits those of `run.limits`. Limits of other names and stages stay as they are."""
    for stage, slots in limits.items():
        server.upsert_global_concurrency_limit_by_name(limit_name(stage), slots)


def require(server: SyncPrefectClient, limits: Mapping[str, int]) -> None:
    """UserError where the server lacks a limit: without it, any number of batches would run at once."""
    for stage in limits:
        if _slots(server, stage) is None:
            raise _lacking(stage)


def _slots(server: SyncPrefectClient, stage: str) -> int | None:
    try:
        found = server.read_global_concurrency_limit_by_name(limit_name(stage))
    except ObjectNotFound:
        return None
    return found.limit if found.active else None


def _lacking(stage: str) -> UserError:
    return UserError(
        f"run.limits names {stage}, but Prefect's server has no active limit {limit_name(stage)}: "
        "run `matrix_data limits --apply` with the same settings"
    )


@contextmanager
def slot(stage: str, limits: Mapping[str, int]) -> Iterator[None]:
    """Hold one of the stage's slots; waits for a free one. Where `limits` does not name the stage: nothing.

    UserError where the server has no such limit, InfrastructureError where it gives no answer. What the server does
    later ends no work: a lease that it lost is told in the run's log, and one that cannot be given back runs out by
    itself within five minutes.
    """
    if stage not in limits:
        yield
        return
    held = concurrency(limit_name(stage), strict=True, raise_on_lease_renewal_failure=False)
    try:
        held.__enter__()
    except Exception as error:  # one type of Prefect's private modules for all: it names its cause if it has one
        if error.__cause__ is None:
            raise _lacking(stage) from error
        cause = one_line(f"{error}: {error.__cause__}", 500)
        raise InfrastructureError(f"no slot of {limit_name(stage)}: {cause}") from error
    try:
        yield
    finally:
        try:
            held.__exit__(None, None, None)
        except Exception as error:  # whatever Prefect's client raises: the work is done and on record
            log.warning("a slot of %s runs out by itself: %s", limit_name(stage), one_line(str(error), 300))
