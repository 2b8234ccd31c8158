"""Questions of many loops and threads become few batches; each gets its own answer, error or none."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from tasks.engines.in_process.line import Line


class Model:
    """Doubles numbers, in batches that it remembers."""

    def __init__(self):
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.busy = threading.Lock()

    def __call__(self, numbers):
        assert self.busy.acquire(blocking=False), "two batches at once"
        try:
            self.threads.add(threading.get_ident())
            self.batches.append(numbers)
            if 1300 in numbers:
                raise RuntimeError("thirteen")
            return [2 * n for n in numbers]
        finally:
            self.busy.release()


async def put_all(line, numbers, size=8, kind=lambda n: ""):
    return await asyncio.gather(*(line.put(n, kind(n), size) for n in numbers), return_exceptions=True)


def test_those_who_ask_together_are_answered_together():
    model = Model()
    assert asyncio.run(put_all(Line(model), range(20))) == [2 * n for n in range(20)]
    assert [len(batch) for batch in model.batches] == [8, 8, 4]


def test_a_batch_is_of_one_kind_the_oldest_first():
    model = Model()
    assert asyncio.run(put_all(Line(model), range(10), kind=lambda n: n % 2)) == [2 * n for n in range(10)]
    assert model.batches == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]


def test_loops_of_many_threads_share_one_model():
    model = Model()
    line = Line(model)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda k: asyncio.run(put_all(line, range(100 * k, 100 * k + 10))), range(1, 7)))
    assert found == [[2 * n for n in range(100 * k, 100 * k + 10)] for k in range(1, 7)]
    assert sorted(n for batch in model.batches for n in batch) == sorted(n // 2 for some in found for n in some)
    assert max(map(len, model.batches)) <= 8


def test_an_error_is_told_to_those_of_its_batch_and_to_nobody_else():
    model = Model()
    found = asyncio.run(put_all(Line(model), [1, 1300, 2, 3, 4], size=2))
    assert [isinstance(one, RuntimeError) for one in found] == [True, True, False, False, False]
    assert found[2:] == [4, 6, 8]


def test_who_gives_up_is_not_answered_and_holds_nobody_up():
    model = Model()
    line = Line(model)

    async def some():
        gone = [asyncio.ensure_future(line.put(n, "", 4)) for n in (100, 101)]
        await asyncio.sleep(0)
        for one in gone:
            one.cancel()
        return await put_all(line, range(3))

    assert asyncio.run(some()) == [0, 2, 4]
    assert all(n < 100 for batch in model.batches for n in batch)


def test_nobody_waits_and_no_thread_is_left():
    model = Model()
    line = Line(model)
    for _ in range(3):
        asyncio.run(put_all(line, range(3)))
        for thread in threading.enumerate():
            if thread.name == "in-process-model":
                thread.join(5)
        assert not any(t.name == "in-process-model" for t in threading.enumerate())
    assert len(model.batches) == 3
