"""Chunks on Prefect work pools: each leg of a chunk is a flow run of the deployment `chunk/<pool>`, which any worker of
that pool takes, on whatever machine.

A chunk goes through its pools one after the other; chunks go side by side. What a worker does stands in the store, so
nothing is handed back but the name of the state that its run ended in.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextvars import copy_context

from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.runtime import flow_run

from flows.settings import BuildSettings
from tasks.errors import UserError

AT_ONCE = 64
"""Chunks whose runs are waited for at the same time. The pools' workers bound what really runs."""

SHOW_EVERY_S = 1.0


def run_on_pools(
    settings: BuildSettings, stages: Sequence[str], chunks: Sequence[str], progress: Callable[[], None]
) -> list[str]:
    """Run the chunks through the stages on their pools; returns what is to be told, a line each.

    Runs that leave something pending are told; the others go on. UserError where a pool has no deployment.
    """
    told: list[str] = []
    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        waiting = {threads.submit(copy_context().run, _one, settings, stages, name) for name in chunks}
        while waiting:
            done, waiting = wait(waiting, timeout=SHOW_EVERY_S, return_when=FIRST_COMPLETED)
            progress()
            for future in done:
                told += future.result()
    return told


def _one(settings: BuildSettings, stages: Sequence[str], name: str) -> list[str]:
    """One chunk, pool after pool."""
    told = []
    for pool, some in _by_pool(settings, stages):
        deployment = f"chunk/{pool}"
        parent = flow_run.get_id() or ""
        try:
            run: FlowRun = run_deployment(  # type: ignore[assignment] # in a thread it waits
                name=deployment,
                parameters={"settings": settings.model_dump(mode="json"), "stages": some, "name": name},
                idempotency_key=f"{parent}-{some[0]}-{name}",
            )
        except ValueError as error:
            raise UserError(f"no deployment {deployment}: `matrix_data workers --pool {pool}` makes it") from error
        state = run.state
        if state is None or not state.is_completed():
            told.append(
                f"{some[0]}: chunk {name}: {state.name if state else 'no state'}: {(state and state.message) or ''}"
            )
    return told


def _by_pool(settings: BuildSettings, stages: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The stages that follow each other on a pool. One without a pool goes where the one before it went."""
    pools, last = settings.run.pools, next(iter(settings.run.pools.values()))
    placed = []
    for stage in stages:
        last = pools.get(stage, last)
        placed.append((last, stage))
    for pool, some in itertools.groupby(placed, key=lambda pair: pair[0]):
        yield pool, [stage for _, stage in some]
