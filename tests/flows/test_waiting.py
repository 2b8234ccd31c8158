"""When a run has nothing to do but wait for people: only then is it suspended for them."""

import pytest

from flows.result import Result, StageResult, waits_for_people


def stage(pending: int) -> StageResult:
    return StageResult(arrived=9, accepted=9 - pending, rejected={}, pending=pending)


@pytest.mark.parametrize(
    ("pending", "waits"),
    [
        ({"track": 0, "review": 4}, True),
        ({"track": 0, "review": 0}, False),
        ({"track": 2, "review": 4}, False),  # what else is pending wants to be run again
        ({"track": 3}, False),
    ],
)
def test_only_people_are_waited_for(pending, waits):
    funnel = {name: stage(n) for name, n in pending.items()}
    result = Result(dataset=None, report="r", funnel=funnel, pending=sum(pending.values()), seconds=1.0)
    assert waits_for_people(result) is waits
