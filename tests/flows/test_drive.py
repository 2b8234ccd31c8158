"""Moving batches through stages, with threads in Prefect's place."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows.batches import GaveUpError, Loss, Lost, batched, drive
from tasks.errors import InfrastructureError, StopRun, UserError

STAGES = ("a", "b", "c")


def run(keys, size, work, in_flight=3, give_up_after=2):
    pool = ThreadPoolExecutor(8)

    def submit(stage, number, keys, done):
        future = pool.submit(work, stage, number, keys)
        future.add_done_callback(lambda _: done())
        return future

    try:
        drive(batched(keys, size, STAGES), submit, in_flight, give_up_after, lambda: None, lost := [])
        return lost
    finally:
        pool.shutdown()


def test_every_batch_goes_through_every_stage_in_order():
    seen, lock = [], threading.Lock()

    def work(stage, number, keys):
        with lock:
            seen.append((number, stage, tuple(keys)))
        return keys

    keys = [str(i) for i in range(20)]
    assert run(keys, 3, work) == []
    for number in range(7):
        mine = [(stage, k) for n, stage, k in seen if n == number]
        assert mine == [(s, tuple(keys[3 * number : 3 * number + 3])) for s in STAGES]


def test_never_more_under_way_than_allowed():
    now, most, lock = 0, 0, threading.Lock()

    def work(stage, number, keys):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.002)
        with lock:
            now -= 1
        return keys

    run([str(i) for i in range(40)], 2, work, in_flight=3)
    assert 1 < most <= 3


def test_a_stage_sees_only_what_the_one_before_accepted():
    seen = {}

    def work(stage, number, keys):
        seen.setdefault(stage, []).extend(keys)
        return [k for k in keys if stage != "a" or int(k) % 2]

    run([str(i) for i in range(10)], 5, work)
    assert sorted(seen["b"]) == ["1", "3", "5", "7", "9"] == sorted(seen["c"])


def test_a_batch_with_nothing_left_ends():
    calls = []

    def work(stage, number, keys):
        calls.append(stage)
        return []

    run(["1", "2"], 2, work)
    assert calls == ["a"]


def test_a_lost_batch_does_not_stop_the_others():
    done = []

    def work(stage, number, keys):
        if number == 1 and stage == "b":
            raise OSError("server down")
        if stage == "c":
            done.append(number)
        return keys

    lost = run([str(i) for i in range(6)], 2, work, in_flight=1)
    assert lost == [Loss("b", 1, ("2", "3"), (), "server down", passed=0)]
    assert sorted(done) == [0, 2]


def test_what_passed_of_a_batch_goes_on_without_what_was_lost():
    seen = []

    def work(stage, number, keys):
        seen.append((stage, list(keys)))
        if stage == "b":
            raise Lost(keys[:1], keys[:1], keys[2:], "server down")
        return keys

    lost = run(["1", "2", "3", "4"], 4, work)
    assert seen[-1] == ("c", ["3", "4"])
    assert lost == [Loss("b", 0, ("1",), ("1",), "server down", passed=3)]


def test_a_good_batch_between_lost_ones_keeps_the_run_going():
    """Of every three batches two are lost, in a row of two; three in a row would end it."""
    done = []

    def work(stage, number, keys):
        if number % 3:
            raise InfrastructureError("server down")
        done.append(number)
        return keys

    lost = run([str(i) for i in range(12)], 1, work, in_flight=1, give_up_after=3)
    assert len(lost) == 8 and sorted(set(done)) == [0, 3, 6, 9]


def test_batches_of_which_a_part_passed_do_not_end_the_run():
    def partly(stage, number, keys):
        raise Lost(keys[:1], keys[:1], [], "one odd file")

    assert len(run([str(i) for i in range(8)], 2, partly, in_flight=1, give_up_after=2)) == 4


def test_a_stage_whose_server_is_down_ends_the_run_though_the_one_before_goes_well():
    calls = []

    def work(stage, number, keys):
        calls.append(stage)
        if stage == "b":
            raise InfrastructureError("server down")
        return keys

    with pytest.raises(GaveUpError, match="server down"):
        run([str(i) for i in range(50)], 1, work, in_flight=1, give_up_after=3)
    assert calls == ["a", "b"] * 3


@pytest.mark.parametrize(
    "bug", [AssertionError("2 in, 1 out"), KeyError("x"), UnicodeEncodeError("utf-8", "", 0, 1, "")]
)
def test_an_error_of_our_own_code_ends_the_run_as_itself(bug):
    calls = []

    def work(stage, number, keys):
        calls.append(number)
        raise bug

    with pytest.raises(type(bug)):
        run([str(i) for i in range(20)], 1, work, in_flight=1, give_up_after=9)
    assert calls == [0]


def test_lost_batches_in_a_row_end_the_run():
    calls = []

    def work(stage, number, keys):
        calls.append(number)
        raise OSError("disk full")

    with pytest.raises(GaveUpError, match="disk full"):
        run([str(i) for i in range(100)], 1, work, in_flight=1, give_up_after=3)
    assert calls == [0, 1, 2]


def test_a_future_that_is_done_at_once_is_no_deadlock():
    class Done:
        def result(self):
            return ["x"]

    def submit(stage, number, keys, done):
        done()
        return Done()

    drive(batched(["x"], 1, STAGES), submit, 2, 2, lambda: None, lost := [])
    assert lost == []


@pytest.mark.parametrize("error", [StopRun("the key is refused"), UserError("no weights at x")])
def test_what_would_meet_every_batch_ends_the_run_at_the_first(error):
    seen = []

    def work(stage, number, keys):
        seen.append((stage, number))
        if (stage, number) == ("b", 0):
            raise error
        return keys

    with pytest.raises(type(error), match=str(error)):
        run([str(i) for i in range(30)], 1, work, in_flight=1, give_up_after=5)
    assert seen == [("a", 0), ("b", 0)]


def test_batches_under_way_still_come_to_their_end_after_a_final_error():
    ended, refused = [], threading.Event()

    def work(stage, number, keys):
        if number == 0:
            refused.set()
            raise StopRun("refused")
        refused.wait(5)
        ended.append((stage, number))
        return keys

    with pytest.raises(StopRun):
        run([str(i) for i in range(30)], 1, work, in_flight=3, give_up_after=5)
    assert sorted(ended) == [("a", 1), ("a", 2)]
