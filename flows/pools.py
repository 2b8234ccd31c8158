"""Chunks on Prefect work pools: each leg of a chunk is a flow run of the deployment `chunk/<pool>`, which any worker of
that pool takes, on whatever machine.

A chunk goes through its pools one after the other; chunks go side by side. What a worker does stands in the store, so
nothing is handed back but the name of the state that its run ended in.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextvars import copy_context
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.types.entrypoint import EntrypointType

from flows.automations import TAG
from flows.chunks import chunk
from flows.settings import BuildSettings
from tasks.errors import UserError

AT_ONCE = 64
"""Chunks whose runs are waited for at the same time. The pools' workers bound what really runs."""

SHOW_EVERY_S, POLL_S = 1.0, 2.0
"""How often the funnel is shown, and how often each run is asked for its state."""


def deploy_chunks(pool: str) -> None:
    """Make or renew the deployment `chunk/<pool>`, so that builds find the pool. Its workers import the flow."""
    chunk.to_deployment(
        name=pool,
        description="One chunk of a build through the stages that run.pools gives to this pool.",
        work_pool_name=pool,
        tags=[TAG],
        entrypoint_type=EntrypointType.MODULE_PATH,
    ).apply()  # type: ignore[union-attr] # where no event loop runs it is no coroutine


def on_pools(settings: BuildSettings, stages: Sequence[str]) -> bool:
    """Whether stages that go through the same chunks run on pools: one of them says so for all."""
    return not settings.run.pools.keys().isdisjoint(stages)


def run_on_pools(
    settings: BuildSettings, stages: Sequence[str], chunks: Sequence[str], progress: Callable[[], None]
) -> list[str]:
    """Run the chunks through the stages on their pools; returns what is to be told, a line each.

    Runs that leave something pending are told; the others go on. UserError where a pool has no deployment, or is that
    of the worker that runs this build: it takes one run at a time, and would wait for itself.
    """
    legs = list(_by_pool(settings, stages))
    with get_client(sync_client=True) as server:
        parent = server.read_flow_run(UUID(flow_run.get_id()))
    if parent.work_pool_name in {pool for pool, _ in legs}:
        raise UserError(
            f"run.pools names the pool {parent.work_pool_name}, whose worker runs this build: give its chunks another"
        )
    told: list[str] = []
    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        waiting = {threads.submit(copy_context().run, _one, settings, legs, name, f"{parent.id}") for name in chunks}
        while waiting:
            done, waiting = wait(waiting, timeout=SHOW_EVERY_S, return_when=FIRST_COMPLETED)
            progress()
            for future in done:
                told += future.result()
    return told


def _one(settings: BuildSettings, legs: Sequence[tuple[str, list[str]]], name: str, parent: str) -> list[str]:
    """One chunk, pool after pool."""
    told = []
    for pool, stages in legs:
        deployment = f"chunk/{pool}"
        try:
            run: FlowRun = run_deployment(  # type: ignore[assignment] # in a thread it waits
                name=deployment,
                parameters={"settings": settings.model_dump(mode="json"), "stages": stages, "name": name},
                idempotency_key=f"{parent}-{stages[0]}-{name}",
                poll_interval=POLL_S,
            )
        except ObjectNotFound as error:
            raise UserError(f"no deployment {deployment}: `matrix_data workers --pool {pool}` makes it") from error
        state = run.state
        if state is None or not state.is_completed():
            why = f"{state.name}: {state.message or 'no message'}" if state else "it has no state"
            told.append(f"{stages[0]}: chunk {name} on {pool}: {why}")
    return told


def _by_pool(settings: BuildSettings, stages: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The stages that follow each other on a pool. One without a pool goes where the one before it went."""
    pools = settings.run.pools
    last = next(pools[stage] for stage in stages if stage in pools)
    placed = []
    for stage in stages:
        last = pools.get(stage, last)
        placed.append((last, stage))
    for pool, some in itertools.groupby(placed, key=lambda pair: pair[0]):
        yield pool, [stage for _, stage in some]
