"""The plan: every sample once an epoch, the same number of batches on every rank, and a way back to any place."""

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_train.data import plan
from matrix_train.data.plan import Plan

sizes = st.integers(1, 40)


def keys(count: int) -> list[str]:
    return [f"{i:016x}" for i in range(count)]


def shown(plan: Plan, positions: range) -> list[str]:
    return [plan.order(ref.epoch)[ref.place] for p in positions for ref in plan.batch(p)]


@settings(max_examples=60, deadline=None)
@given(count=sizes, batch=st.integers(1, 5), world=st.integers(1, 4), seed=st.integers(0, 9), epoch=st.integers(0, 3))
def test_an_epoch_shows_every_sample_once_over_all_ranks(count, batch, world, seed, epoch) -> None:
    plans = [Plan(keys(count), seed, batch, world, rank) for rank in range(world)]
    steps = plans[0].batches_per_epoch
    assert {plan.batches_per_epoch for plan in plans} == {steps}
    positions = range(epoch * steps, (epoch + 1) * steps)
    assert all(len(plan.batch(p)) == batch for plan in plans for p in positions)
    # As all ranks together go through it, step by step: the whole order, then its beginning again as padding.
    together = [key for p in positions for plan in plans for key in shown(plan, range(p, p + 1))]
    order = plans[0].order(epoch)
    assert together[:count] == list(order)
    assert sorted(order) == keys(count)
    assert together[count:] == [order[i % count] for i in range(len(together) - count)]
    assert len(together) - count < batch * world


@settings(max_examples=60, deadline=None)
@given(count=sizes, batch=st.integers(1, 5), position=st.integers(0, 100))
def test_a_fresh_plan_goes_on_from_any_position(count, batch, position) -> None:
    whole = Plan(list(reversed(keys(count))), 3, batch)
    walked = [whole.batch(p) for p in range(position + 5)]
    assert [Plan(keys(count), 3, batch).batch(p) for p in range(position, position + 5)] == walked[position:]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    plan = Plan(keys(50), seed=0)
    assert len({plan.order(epoch) for epoch in range(5)}) == 5
    assert Plan(keys(50), seed=1).order(0) != plan.order(0)


def test_the_order_is_the_same_for_every_version_and_process() -> None:
    """Written down: a checkpoint of today must resume tomorrow."""
    want = ["0000000000000003", "0000000000000001", "0000000000000000", "0000000000000002", "0000000000000004"]
    assert list(Plan(keys(5), seed=7).order(2)) == want
    code = "from plan import Plan; print(*Plan([f'{i:016x}' for i in range(5)], 7).order(2))"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(plan.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == want


def test_stand_ins_follow_the_order_and_end() -> None:
    plan = Plan(keys(6), seed=0, batch_size=4)
    ref = plan.batch(1)[3]
    order = plan.order(ref.epoch)
    walk = list(plan.walk(ref))
    assert walk == [order[(ref.place + i) % 6] for i in range(6)]
