"""Each clip counts its own requests, however they interleave."""

import asyncio

from schemas import Deduped, Reason, Repairs, Status, Usage
from tasks.engines.metering import metered, spend
from tasks.errors import Reject
from tasks.outcome import settle_async


def test_clips_side_by_side_count_their_own_tokens():
    async def work(tokens: int, rejects: bool) -> Deduped:
        async def ask() -> None:
            await asyncio.sleep(0)
            spend(Usage(requests=1, prompt_tokens=tokens))

        # Turn 3 asks one question per triplet at once: tasks of their own, one meter.
        await asyncio.gather(ask(), ask(), ask())
        if rejects:
            raise Reject(Reason.FILTERED, "no")
        return Deduped(nearest=None, distance=0)

    async def both():
        cases = [settle_async(f"{n:016x}", lambda n=n: work(10**n, rejects=n == 2)) for n in range(4)]
        return await asyncio.gather(*cases)

    rows = asyncio.run(both())
    assert [row.usage.prompt_tokens for row in rows] == [3, 30, 300, 3000]
    assert [row.usage.requests for row in rows] == [3] * 4
    assert rows[2].status is Status.REJECTED  # what a rejected clip cost is on record too


def test_nothing_asked_is_no_usage_and_no_meter_is_no_error():
    spend(Usage(requests=1))
    with metered() as meter:
        pass
    assert meter.usage is None


def test_usage_adds_up_and_reads_well():
    total = Usage(requests=2, prompt_tokens=1500, cost=0.25) + Usage(requests=1, cached_requests=1, completion_tokens=7)
    assert total == Usage(requests=3, cached_requests=1, prompt_tokens=1500, completion_tokens=7, cost=0.25)
    assert total.line() == "3 requests (1 cached), 1,500 + 7 tokens, cost 0.25"


def test_repairs_add_up_by_kind_and_are_named_where_there_are_any():
    one = Usage(requests=1, completion_tokens=2, repaired=Repairs(unused_entities=1, nouns=1000))
    both = one + Usage(repaired=Repairs(unused_entities=2, doubles=1))
    assert both.repaired == Repairs(unused_entities=3, doubles=1, nouns=1000)
    assert both.line() == "1 requests, 0 + 2 tokens; repaired: 3 unused entities, 1 double, 1,000 nouns"
    assert Usage(repaired=Repairs(unused_entities=1)).line() == "repaired: 1 unused entity"
    assert Usage(requests=1).line() == "1 requests, 0 + 0 tokens"
