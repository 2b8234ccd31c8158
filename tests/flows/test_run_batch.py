"""One batch: rows on record, own failures counted to poison, infrastructure failures leave the rest pending."""

import asyncio
import sys

import pytest

from benchmarks.setting.rows import fill, key_of, payload_of
from flows.batches import Account, Loss, Lost, fail_alone, gpu_peak, run_batch
from flows.chunk import Chunk
from flows.context import Context
from flows.settings import BuildSettings
from flows.tally import by_machine
from schemas import Row, Status, Usage
from tasks.engines.metering import spend
from tasks.errors import InfrastructureError, StopRun, UserError
from tasks.outcome import settle, settle_async
from tasks.store.legs import machine
from tasks.store.spool import counted, newly_counted

CLIPS = 4


class Scripted(Chunk):
    """A chunk whose caption stage does what the test says with each clip."""

    def process(self, stage, keys):
        for key in keys:
            yield settle(key, lambda key=key: self.act(key))


@pytest.fixture
def build(tmp_path):
    context = Context(BuildSettings(source=str(tmp_path), out=str(tmp_path / "out")))
    fill(context, CLIPS, stages=())
    with context.lease("caption", "00000"):
        yield Scripted(context, "00000")


@pytest.fixture
def keys():
    return sorted(key_of("clip", n) for n in range(CLIPS))


def test_what_is_on_record_is_not_done_again(build, keys):
    done = []
    build.act = lambda key: done.append(key) or payload_of("caption")
    assert run_batch(build, "caption", keys[:2]) == keys[:2]
    assert run_batch(build, "caption", keys) == keys
    assert done == keys


def test_a_clip_that_always_fails_is_poison_and_the_others_pass(build, keys):
    tries = []

    def act(key):
        if key == keys[1]:
            tries.append(key)
            raise ZeroDivisionError("my own fault")
        return payload_of("caption")

    build.act = act
    assert run_batch(build, "caption", keys) == [keys[0], *keys[2:]]
    assert len(tries) == build.context.settings.run.max_attempts
    (row,) = build.store("caption").read([keys[1]])
    assert (row.status, row.reason) == (Status.REJECTED, "poison")
    assert "my own fault" in row.detail


def test_a_clip_that_fails_once_passes_in_the_end(build, keys):
    failed = set()

    def act(key):
        if key not in failed:
            failed.add(key)
            raise ValueError("not yet")
        return payload_of("caption")

    build.act = act
    assert run_batch(build, "caption", keys) == keys
    assert build.store("caption").failures(keys[0]) == 1


WORLD = [InfrastructureError("server down"), MemoryError(), OSError(28, "No space left"), TimeoutError()]


@pytest.mark.parametrize("error", WORLD, ids=lambda e: type(e).__name__)
def test_a_clip_that_the_world_fails_stays_pending_and_the_rest_of_its_batch_goes_on(build, keys, error):
    def act(key):
        if key == keys[1]:
            raise error
        return payload_of("caption")

    build.act = act
    with pytest.raises(Lost) as lost:
        run_batch(build, "caption", keys)
    assert lost.value.__cause__ is error and lost.value.keys == lost.value.tried == [keys[1]]
    assert lost.value.accepted == [keys[0], *keys[2:]]
    assert build.store("caption").pending(keys) == [keys[1]]
    tally = build.tally("caption")
    assert (tally.arrived, tally.accepted, tally.pending) == (4, 3, 1)


def test_where_the_world_fails_twice_in_a_row_nothing_more_is_tried(build, keys):
    tries = []

    def act(key):
        tries.append(key)
        if key != keys[0]:
            raise InfrastructureError("server down")
        return payload_of("caption")

    build.act = act
    with pytest.raises(Lost, match="server down") as lost:
        run_batch(build, "caption", keys)
    assert lost.value.keys == keys[1:] and tries == keys[:3]
    assert lost.value.tried == keys[1:3]


@pytest.mark.parametrize("error", [StopRun("the key is refused"), UserError("no weights")])
def test_what_stops_the_run_leaves_a_batch_at_once(build, keys, error):
    tries = []

    def act(key):
        tries.append(key)
        raise error

    build.act = act
    with pytest.raises(type(error)):
        run_batch(build, "caption", keys)
    assert tries == keys[:1]


def test_an_error_of_our_own_code_is_not_taken_for_the_worlds(build, keys):
    def process(stage, todo):
        raise AttributeError("a bug")

    build.process = process
    with pytest.raises(AttributeError):
        run_batch(build, "caption", keys)


def test_a_file_that_is_gone_is_the_clips_own_failure(build, keys):
    def act(key):
        if key == keys[1]:
            raise FileNotFoundError(2, "No such file", "clip.mp4")
        return payload_of("caption")

    build.act = act
    assert run_batch(build, "caption", keys) == [keys[0], *keys[2:]]
    (row,) = build.store("caption").read([keys[1]])
    assert row.reason == "poison" and "clip.mp4" in row.detail


def test_what_the_world_fails_run_after_run_is_poison_in_the_end(build, keys):
    loss = Loss("caption", 0, tuple(keys), (keys[1],), "InfrastructureError: refused\nagain", passed=0)
    for _ in range(build.context.settings.run.max_attempts - 1):
        fail_alone(build, [loss])
        assert build.store("caption").pending(keys) == keys
    fail_alone(build, [loss])
    assert build.store("caption").rejected() == {keys[1]: "poison"}, "those that nobody tried have no part in it"


def test_a_server_that_dies_in_every_run_poisons_nobody(build, keys):
    """It answers for one clip a run: each run tries two more, and none of them three times."""
    left = []

    def act(key):
        if not left:
            raise InfrastructureError("server down")
        left.pop()
        return payload_of("caption")

    build.act = act
    for _ in range(3):
        left.append("an answer")
        with pytest.raises(Lost) as lost:
            run_batch(build, "caption", keys)
        fail_alone(build, [Loss("caption", 0, tuple(lost.value.keys), tuple(lost.value.tried), "down", passed=1)])
    assert build.store("caption").accepted() == keys[:3] and build.store("caption").rejected() == {}


def test_a_stage_that_loses_a_clip_is_caught(build, keys):
    build.process = lambda stage, todo: iter([Row(key=todo[0], status=Status.ACCEPTED, payload=payload_of("caption"))])
    with pytest.raises(AssertionError, match="4 clips in, 1 rows out"):
        run_batch(build, "caption", keys)


def test_what_a_batch_took_is_on_record_with_its_machine(build, keys):
    def act(key):
        spend(Usage(requests=1, prompt_tokens=7, completion_tokens=3))
        if key == keys[1]:
            raise ZeroDivisionError("my own fault")
        return payload_of("caption")

    async def metered_act(key):
        return act(key)

    def process(stage, some):
        counted["taken"] += 1
        yield from (asyncio.run(settle_async(key, lambda key=key: metered_act(key))) for key in some)

    build.process = process
    newly_counted()
    account = Account(leg="one")
    run_batch(build, "caption", keys, account)
    attempts = build.context.settings.run.max_attempts
    (host,) = build.store("caption").totals().machines
    assert (host.machine, host.keys, host.failed) == (machine(), CLIPS, {"ZeroDivisionError": attempts - 1})
    assert host.usage == account.usage and host.usage.requests == CLIPS + attempts - 1
    assert host.spool == {"taken": attempts} and newly_counted() == {}
    assert 0 < host.batch_s <= host.wall_s and host.room_s == host.wall_s * build.context.settings.run.workers
    (line,) = by_machine([build.tally("caption")])
    assert (line["tokens"], line["gpu_mib"], line["pending"]) == (10 * (CLIPS + attempts - 1), 0, 0)


def test_gpu_memory_is_asked_of_a_torch_that_runs_on_one_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert gpu_peak() == 0 and "torch" not in sys.modules
