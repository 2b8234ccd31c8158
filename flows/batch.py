"""One batch of one stage, start to finish: what is still pending is run, and every row goes on record."""

from collections.abc import Sequence
from typing import Any

from flows.context import Plan
from schemas import Reason, Row, Status


def run_batch(plan: Plan, stage: str, keys: Sequence[str]) -> list[str]:
    """Run `keys` through `stage` and write their rows; returns the accepted keys, in order.

    Clips already on record are not done again. Own failures are tried up to `run.max_attempts` times over all runs,
    then rejected as poison. When the world around the batch fails (InfrastructureError, a full disk, no memory), rows
    made so far are written, the rest stays pending, and the error goes on to the caller.
    """
    store = plan.store(stage)
    limit = plan.settings.run.max_attempts
    todo = store.pending(keys)
    while todo:
        rows: list[Row[Any]] = []
        try:
            for row in plan.process(stage, todo):
                last = row.status is Status.FAILED and store.failures(row.key) + 1 >= limit
                rows.append(_poison(row, limit) if last else row)
        finally:
            store.write(rows)
        if len(rows) != len(todo):
            raise AssertionError(f"{stage}: {len(todo)} clips in, {len(rows)} rows out")
        todo = store.pending(todo)
    return store.accepted_of(keys)


def _poison(row: Row[Any], attempts: int) -> Row[Any]:
    detail = f"failed {attempts} times; last: {row.detail}"[:4000]
    return row.model_copy(update={"status": Status.REJECTED, "reason": Reason.POISON, "detail": detail})
