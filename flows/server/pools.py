"""Chunks on Prefect work pools: each leg of a chunk is a flow run of the deployment `chunk/<pool>`, which any worker of
that pool takes, on whatever machine.

A chunk goes through its pools one after the other; chunks go side by side. What a worker does stands in the store, so
nothing is handed back but the name of the state that its run ended in.
"""

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelled, Cancelling, Completed, Crashed
from prefect.types.entrypoint import EntrypointType

from flows.batches import GaveUpError
from flows.chunk_flow import chunk, name_of_run
from flows.opened import open_build
from flows.progress import Gauge, tell
from flows.result import GAVE_UP, INCOMPLETE
from flows.server.automations import TAG
from flows.settings import BuildSettings
from tasks.errors import UserError
from tasks.store.lease import Watch
from tasks.store.places import local_uri

AT_ONCE = 64
"""Chunks that have a run at the same time. The pools' workers bound what really runs."""

POLL_S, PATIENCE_S = 2.0, 25.0
"""How often the runs' states are asked for, and how long the server may give no answer: it may be restarted."""

BEGIN_S, DONE_S = 300.0, 60.0
"""After which a run that a worker has taken and not begun is given up, and one that has done all is taken for ended.

A server that loses its database or Redis for a moment refuses the states that workers hand in just then, for good."""

DEAD_S, LOOK_S = 120.0, 20.0
"""After which a run that is under way is taken for dead because nobody holds its chunk's lease, and how often that is
looked at. A run takes its leases first of all and keeps them until its rows are on record."""

TRIES = 2
"""Runs over a chunk at a pool where the first one's worker dies."""


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


@dataclass
class _Way:
    """A chunk on its way from pool to pool: the leg that it is at, and that one's run when it has begun."""

    name: str
    leg: int = 0
    tried: int = 0
    run: UUID | None = None
    _seen: object = None
    _since: float = 0.0
    _looked: float = 0.0
    _lease: Watch | None = None

    def overdue(self, state: State[Any], done: bool, lease: Callable[[], Watch]) -> State[Any] | None:
        """The state that ends a run which stays in this one; None while it may go on. done: nothing is pending."""
        now, seen = time.monotonic(), (self.run, state.type, done)
        if seen != self._seen or self._lease is None:
            self._seen, self._since, self._looked, self._lease = seen, now, now, lease()
        if done and now > self._since + DONE_S:
            return Completed(message="all that it had to do is on record")
        if state.is_pending() and now > self._since + BEGIN_S:
            return Crashed(message=f"a worker took it and had not begun after {BEGIN_S:g} s")
        if (state.is_running() or state.is_cancelling()) and now > self._looked + LOOK_S:
            self._looked = now
            if self._lease.silent_s() > DEAD_S:
                return (Crashed if state.is_running() else Cancelled)(message="nobody holds its chunk: its worker died")
        return None

    def ended(self, crashed: bool) -> None:
        """The next leg follows, or the same one again where the run's worker died."""
        self.tried += 1
        if not crashed or self.tried == TRIES:
            self.leg, self.tried = self.leg + 1, 0
        self.run = None


def run_on_pools(settings: BuildSettings, stages: Sequence[str], chunks: Sequence[str], gauge: Gauge) -> list[str]:
    """Run the chunks through the stages on their pools; returns what is to be told, a line each.

    Runs that leave something pending or crash are told; the others go on, and one that crashed is begun once more. What
    ends this run, ends those too. GaveUpError after a run that its breaker ended, or `run.give_up_after` in a row that
    failed on one pool. UserError where a pool has no deployment, or is that of the worker that runs this build: it
    takes one run at a time, and would wait for itself.
    """
    legs = list(_by_pool(settings, stages))
    parent = _parent_of(legs)
    settings = _seen_from_anywhere(settings)
    open_build(settings)
    given, context = settings.model_dump(mode="json"), gauge.survey.context
    told, failed = list[str](), Counter[str]()
    ahead, under_way = deque(map(_Way, chunks)), list[_Way]()
    with get_client(sync_client=True) as server:
        try:
            heard = time.monotonic()
            while ahead or under_way:
                while ahead and len(under_way) < AT_ONCE:
                    under_way.append(ahead.popleft())
                try:
                    for way in under_way:
                        way.run = way.run or _begin(given, *legs[way.leg], way, parent)
                    states = _states(server, [way.run for way in under_way if way.run])
                    heard = time.monotonic()
                except httpx.HTTPError:
                    if time.monotonic() > heard + PATIENCE_S:
                        raise
                    states = {}
                for way in [way for way in under_way if way.run in states]:
                    (pool, some), run = legs[way.leg], cast(UUID, way.run)
                    state = states[run]
                    if not state.is_final():
                        left = any(gauge.survey.of_chunk(stage, way.name).pending for stage in some)
                        lease = partial(Watch, context.folder, context.place(some[0], way.name))
                        if (end := way.overdue(state, not left, lease)) is None:
                            continue
                        tell("the end of a chunk's run", partial(server.set_flow_run_state, run, end, force=True))
                        state = end
                    if not state.is_completed():
                        told.append(f"{some[0]}: chunk {way.name} on {pool}: {state.name}: {state.message or ''}")
                    failed[pool] = failed[pool] + 1 if state.is_failed() and state.name != INCOMPLETE else 0
                    if state.name == GAVE_UP or failed[pool] >= settings.run.give_up_after:
                        raise GaveUpError(told[-1])
                    way.ended(state.is_crashed())
                    if way.leg == len(legs):
                        under_way.remove(way)
                gauge.show()
                time.sleep(POLL_S if under_way else 0)
        finally:
            for run in [way.run for way in under_way if way.run]:
                tell("the end of a chunk's run", partial(server.set_flow_run_state, run, Cancelling()))
    return told


def end_chunks(flow: object, flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 as Prefect names them
    """Hook of a deployed build that crashed or is cancelled: the chunks' runs that it has left behind end too.

    A build that ends by itself ends them itself. For one that was killed its worker runs this: without it the chunks on
    pools would work on for nobody, those of its own process would seem to run for ever. They are AT_ONCE and a few at
    most, which a page of the server's answer holds.
    """
    going = FlowRunFilterStateType(not_any_=list(TERMINAL_STATES))
    below = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]), state=FlowRunFilterState(type=going)
    )
    why = f"its build ended as {state.name}"
    with get_client(sync_client=True) as server:
        for run in server.read_flow_runs(flow_run_filter=below):
            end: State[Any] = Cancelling(message=why) if run.work_pool_name else Crashed(message=why)
            server.set_flow_run_state(run.id, end)


def _begin(settings: dict[str, object], pool: str, stages: list[str], way: _Way, parent: str) -> UUID:
    """A run of a chunk, or the one that was begun already when no answer came."""
    run: FlowRun = run_deployment(  # type: ignore[assignment] # where no event loop runs it is no coroutine
        name=_deployment(pool),
        flow_run_name=name_of_run(way.name, stages),
        parameters={"settings": settings, "stages": stages, "name": way.name},
        idempotency_key=f"{parent}-{stages[0]}-{way.name}-{way.tried}",
        timeout=0,
    )
    return run.id


def _states(server: SyncPrefectClient, runs: Sequence[UUID]) -> dict[UUID, State[Any]]:
    """What the server says of these runs. Somebody may have deleted one."""
    found = server.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(runs))))
    gone: State[Any] = Cancelled(message="its flow run was deleted")
    return dict.fromkeys(runs, gone) | {run.id: run.state for run in found if run.state}


def _parent_of(legs: Sequence[tuple[str, list[str]]]) -> str:
    """What tells this run of the build from every other, and from its own tries and resumptions, which keep its ID and
    at times its count of runs: the state that it is in. UserError as for `run_on_pools`.
    """
    with get_client(sync_client=True) as server:
        parent = server.read_flow_run(UUID(flow_run.get_id()))
        for pool, _ in legs:
            if pool == parent.work_pool_name:
                raise UserError(
                    f"run.pools names the pool {pool}, whose worker runs this build: give its chunks another"
                )
            try:
                server.read_deployment_by_name(_deployment(pool))
            except ObjectNotFound as error:
                raise UserError(
                    f"no deployment {_deployment(pool)}: `matrix_data workers --pool {pool}` makes it"
                ) from error
    return str(parent.state_id)


def _seen_from_anywhere(settings: BuildSettings) -> BuildSettings:
    """The settings with whole paths in the place of those that begin in this process's folder."""
    places = {name: getattr(settings, name) for name in ("source", "out", "captions")}
    whole = {name: local_uri(place) for name, place in places.items() if place and "://" not in place}
    found: BuildSettings = settings.model_copy(update=whole)
    return found


def _deployment(pool: str) -> str:
    return f"{chunk.name}/{pool}"


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
