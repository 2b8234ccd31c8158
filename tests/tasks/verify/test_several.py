"""Several boxes a request: the same anchors as box by box, in fewer requests, one box an ID and one ID a box."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import Box, Candidate, Instance
from tasks.engines.base import BadReply, VerdictReply, VerifyRequest
from tasks.verify.search import Search
from tasks.verify.settings import VerifySettings

Says = Callable[[VerifyRequest], str | None]


@dataclass
class Shown:
    """A verifier that says of each box what it shows, alone or among others, and remembers what it was asked."""

    says: Says
    several: int = 1
    asked: list[list[VerifyRequest]] = field(default_factory=list)
    identity: str = "shown/1"

    def _reply(self, request: VerifyRequest) -> VerdictReply:
        said = self.says(request)
        wanted = said if said in {c.id for c in request.candidates} else None
        return VerdictReply(assigned_id=wanted, confidence=0.9, rationale="as scripted")

    async def verify(self, request: VerifyRequest) -> VerdictReply:
        self.asked.append([request])
        return self._reply(request)

    async def verify_several(self, requests) -> list[VerdictReply]:
        self.asked.append(list(requests))
        return [self._reply(request) for request in requests]


def instance(number: int, cls: str) -> Instance:
    return Instance(id=f"id{number}", cls=cls, noun=f"{cls} {number}", app="", spatial="")


def boxed(cls: str, frame: int, x: int, score: float) -> Candidate:
    return Candidate(noun=cls, frame=frame, box=Box(x0=x, y0=10, x1=x + 12, y1=40), score=score)


def searched(verifier, instances, candidates, **more) -> Search:
    pools: dict[str, list[Candidate]] = {i.cls: [] for i in instances}
    for candidate in sorted(candidates, key=lambda c: -c.score):
        pools[candidate.noun].append(candidate)
    frames = {c.frame: np.zeros((64, 160, 3), np.uint8) for c in candidates}
    search = Search(verifier, VerifySettings(**more), frames, tuple(instances), pools)
    asyncio.run(search.run())
    return search


def at(places: dict[int, str]) -> Says:
    """What stands where, by the box's left side."""
    return lambda request: places.get(int(request.box.x0))


PAIR = [instance(1, "man"), instance(2, "man"), instance(3, "dog")]
PLACES = {10: "id1", 50: "id2", 90: "id3"}
SCENE = [
    *(boxed("man", f, x, 0.9 - 0.01 * f - x / 1000) for f in range(4) for x in (10, 50, 130)),
    *(boxed("dog", f, x, 0.8 - 0.01 * f - x / 1000) for f in range(4) for x in (90, 130)),
]


@pytest.mark.parametrize("several", [2, 3, 4, 8, 16])
def test_the_same_anchors_in_fewer_requests(several):
    one, many = Shown(at(PLACES)), Shown(at(PLACES), several)
    alone, together = searched(one, PAIR, SCENE), searched(many, PAIR, SCENE)
    assert together.anchors == alone.anchors and set(alone.anchors) == {"id1", "id2", "id3"}
    assert len(many.asked) < len(one.asked)
    assert max(map(len, many.asked)) <= several


def test_boxes_of_all_classes_go_into_one_request_with_their_own_ids():
    verifier = Shown(at(PLACES), 4)
    searched(verifier, PAIR, SCENE)
    classes = [[request.noun for request in some] for some in verifier.asked]
    assert classes[0] == ["man", "man", "dog", "dog"]
    for some in verifier.asked:
        for request in some:
            assert {c.cls for c in request.candidates} == {request.noun}


def test_of_two_boxes_of_one_request_that_show_the_same_the_first_is_taken():
    verifier = Shown(lambda request: "id1", 8)
    found = searched(verifier, [instance(1, "man")], [boxed("man", 0, 10, 0.9), boxed("man", 1, 10, 0.8)])
    assert found.anchors["id1"].frame == 0
    assert [v.assigned_id for v in found.verdicts] == ["id1", None]
    assert "has its box by now" in found.verdicts[1].rationale


def test_a_box_goes_to_one_id_alone():
    """Drawn twice in one frame, and told apart wrongly."""
    verifier = Shown(lambda request: {10: "id1", 11: "id2"}[int(request.box.x0)], 8)
    twice = [boxed("man", 0, 10, 0.9), boxed("man", 0, 11, 0.8)]
    found = searched(verifier, PAIR[:2], twice)
    assert set(found.anchors) == {"id1"}
    assert "another ID's by now" in found.verdicts[1].rationale


def test_no_more_is_tried_for_an_id_than_is_allowed():
    many = [boxed("man", f, 130, 0.9 - f / 100) for f in range(12)]
    verifier = Shown(lambda request: None, 4)
    found = searched(verifier, [instance(1, "man")], many, max_verdicts_per_id=6)
    assert [len(some) for some in verifier.asked] == [4, 2] and found.tried == {"id1": 6}


def test_an_answer_that_never_holds_is_a_bad_reply_on_each_of_its_boxes():
    class Mute(Shown):
        async def verify_several(self, requests):
            raise BadReply("noise")

    found = searched(Mute(at(PLACES), 8), PAIR, SCENE)
    assert not found.anchors and all(v.rationale == "bad reply: noise" for v in found.verdicts)


def test_a_verifier_that_leaves_boxes_out_has_broken_its_contract():
    class Short(Shown):
        async def verify_several(self, requests):
            return (await super().verify_several(requests))[:-1]

    with pytest.raises(ValueError, match="verdicts on"):
        searched(Short(at(PLACES), 8), PAIR, SCENE)


@settings(max_examples=60, deadline=None)
@given(
    shown=st.lists(st.sampled_from(["id1", "id2", "id3", None]), min_size=1, max_size=14),
    several=st.integers(2, 9),
)
def test_whatever_the_boxes_show_the_anchors_are_those_of_asking_one_by_one(shown, several):
    boxes = [
        boxed("dog" if who == "id3" else "man", f, 10 * (f % 10) + 1, 0.9 - f / 100) for f, who in enumerate(shown)
    ]
    by_frame = {c.frame: who for c, who in zip(boxes, shown, strict=True)}
    frames = {id(c.box): c.frame for c in boxes}

    def says(request):
        return by_frame[frames[id(request.box)]]

    one, many = (searched(Shown(says, n), PAIR, boxes) for n in (1, several))
    assert one.anchors == many.anchors
