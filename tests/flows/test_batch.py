"""One batch: rows on record, own failures counted to poison, infrastructure failures leave the rest pending."""

import pytest

from benchmarks.rows import fill, key_of, payload_of
from flows.batch import run_batch
from flows.context import Plan
from flows.settings import BuildSettings
from schemas import Row, Status
from tasks.errors import InfrastructureError
from tasks.outcome import settle

CLIPS = 4


class Scripted(Plan):
    """A plan whose caption stage does what the test says with each clip."""

    def process(self, stage, keys):
        for key in keys:
            yield settle(key, lambda key=key: self.act(key))


@pytest.fixture
def plan(tmp_path):
    plan = Scripted(BuildSettings(source=str(tmp_path), out=str(tmp_path / "out")))
    fill(plan, CLIPS, stages=())
    return plan


@pytest.fixture
def keys():
    return sorted(key_of("clip", n) for n in range(CLIPS))


def test_what_is_on_record_is_not_done_again(plan, keys):
    done = []
    plan.act = lambda key: done.append(key) or payload_of("caption")
    assert run_batch(plan, "caption", keys[:2]) == keys[:2]
    assert run_batch(plan, "caption", keys) == keys
    assert done == keys


def test_a_clip_that_always_fails_is_poison_and_the_others_pass(plan, keys):
    tries = []

    def act(key):
        if key == keys[1]:
            tries.append(key)
            raise ZeroDivisionError("my own fault")
        return payload_of("caption")

    plan.act = act
    assert run_batch(plan, "caption", keys) == [keys[0], *keys[2:]]
    assert len(tries) == plan.settings.run.max_attempts
    (row,) = plan.store("caption").read([keys[1]])
    assert (row.status, row.reason) == (Status.REJECTED, "poison")
    assert "my own fault" in row.detail


def test_a_clip_that_fails_once_passes_in_the_end(plan, keys):
    failed = set()

    def act(key):
        if key not in failed:
            failed.add(key)
            raise ValueError("not yet")
        return payload_of("caption")

    plan.act = act
    assert run_batch(plan, "caption", keys) == keys
    assert plan.store("caption").failures(keys[0]) == 1


@pytest.mark.parametrize("error", [InfrastructureError("server down"), MemoryError(), OSError(28, "No space left")])
def test_when_the_world_fails_what_is_done_is_kept_and_the_rest_is_pending(plan, keys, error):
    def act(key):
        if key == keys[2]:
            raise error
        return payload_of("caption")

    plan.act = act
    with pytest.raises(type(error)):
        run_batch(plan, "caption", keys)
    assert plan.store("caption").pending(keys) == keys[2:]
    tally = plan.tally("caption", keys)
    assert (tally.arrived, tally.accepted, tally.pending) == (4, 2, 2)


def test_a_stage_that_loses_a_clip_is_caught(plan, keys):
    plan.process = lambda stage, todo: iter([Row(key=todo[0], status=Status.ACCEPTED, payload=payload_of("caption"))])
    with pytest.raises(AssertionError, match="4 clips in, 1 rows out"):
        run_batch(plan, "caption", keys)
