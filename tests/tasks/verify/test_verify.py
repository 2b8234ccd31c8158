"""Propose and verify with scripted detectors and verifiers: who gets which box, and what goes when nobody does."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from pydantic import ValidationError

from schemas import Box, Reason, Status
from tasks.engines.base import BadReply, Frames, Proposal, VerdictReply, VerifyRequest
from tasks.errors import InfrastructureError
from tasks.outcome import Case
from tasks.propose.stage import ProposeSettings, propose, sample_frames
from tasks.verify.search import padded_crop
from tasks.verify.stage import SPEC, VerifySettings, verify
from tests.tasks.grounding_cases import HEIGHT, TOTAL, WIDTH, ground, make_case


def box_at(x: float, y: float = 10.0, size: float = 8.0) -> Box:
    return Box(x0=x, y0=y, x1=x + size, y1=y + size)


@dataclass
class Boxes:
    """A detector that answers from a script, and remembers what it was asked."""

    script: list[Proposal]
    asked: list[tuple[tuple[str, ...], int, tuple[int, ...]]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    identity: str = "scripted-detector"

    def propose(self, frames: Frames, nouns: Sequence[str], limit: int) -> list[Proposal]:
        self.asked.append((tuple(nouns), limit, frames.shape))
        self.threads.add(threading.get_ident())
        return [p for p in self.script if p.noun in nouns]


@dataclass
class Judge:
    """A verifier that answers by a rule, and remembers its requests."""

    rule: Callable[[VerifyRequest], str | None]
    confidence: float = 0.9
    requests: list[VerifyRequest] = field(default_factory=list)
    identity: str = "scripted-verifier"

    async def verify(self, request: VerifyRequest) -> VerdictReply:
        self.requests.append(request)
        await asyncio.sleep(0)
        return VerdictReply(assigned_id=self.rule(request), confidence=self.confidence, rationale="by the script")


def owner_of(owners: dict[float, str]) -> Callable[[VerifyRequest], str | None]:
    """A truthful rule: the box at this x shows this ID, whoever is asked for; null where that ID is not on offer."""

    def rule(request: VerifyRequest) -> str | None:
        owner = owners.get(request.box.x0)
        return owner if owner in {c.id for c in request.candidates} else None

    return rule


def frames_of(_case: Case) -> Frames:
    """Frame n is filled with the value n."""
    return np.broadcast_to(np.arange(TOTAL, dtype=np.uint8)[:, None, None, None], (TOTAL, HEIGHT, WIDTH, 3))


PAIR = {"id1": "man", "id2": "man"}
PAIR_BOXES = [Proposal(0, "man", box_at(4), 0.9), Proposal(0, "man", box_at(40), 0.8)]


def run(case: Case, detector: Boxes, judge: Judge, **settings: object):  # type: ignore[no-untyped-def]
    first = {name: settings.pop(name) for name in ("frames", "boxes") if name in settings}
    return ground(case, frames_of, detector, judge, ProposeSettings(**first), VerifySettings(**settings))


def proposed(cases: Sequence[Case]) -> list[Case]:
    """The cases with the boxes of a pair on record."""
    rows = propose(cases, frames_of, Boxes(PAIR_BOXES), ProposeSettings())
    return [case.plus(row.payload) for case, row in zip(cases, rows, strict=True)]


def test_each_of_a_pair_gets_the_box_that_the_verifier_says():
    for owners in ({4.0: "id1", 40.0: "id2"}, {4.0: "id2", 40.0: "id1"}):
        row = run(make_case(PAIR, [("id1", "id2")]), Boxes(PAIR_BOXES), Judge(owner_of(owners)))
        assert row.status is Status.ACCEPTED
        assert {a.box.x0: a.id for a in row.payload.anchors} == owners
        assert [a.id for a in row.payload.anchors] == ["id1", "id2"]


def test_a_box_is_accepted_once_even_by_a_verifier_that_says_yes_to_all():
    yes = Judge(lambda r: r.candidates[0].id)
    near = Proposal(0, "man", Box(x0=4.5, y0=10, x1=12.5, y1=18), 0.85)
    row = run(make_case(PAIR, [("id1", "id2")]), Boxes([*PAIR_BOXES, near]), yes)
    first, second = row.payload.anchors
    assert (first.box.x0, second.box.x0) == (4.0, 40.0)
    assert len(row.payload.verdicts) == 2


def test_a_near_identical_box_in_another_frame_is_another_box():
    later = Proposal(1, "man", box_at(4), 0.85)
    row = run(make_case(PAIR, [("id1", "id2")]), Boxes([PAIR_BOXES[0], later]), Judge(lambda r: r.candidates[0].id))
    assert [a.frame for a in row.payload.anchors] == [0, 2]


def test_exclusion_does_not_reach_other_classes():
    boxes = [Proposal(0, "man", box_at(4), 0.9), Proposal(0, "cup", box_at(4), 0.8)]
    row = run(
        make_case({"id1": "man", "id2": "cup"}, [("id1", "id2")]), Boxes(boxes), Judge(lambda r: r.candidates[0].id)
    )
    assert [a.box.x0 for a in row.payload.anchors] == [4.0, 4.0]


def test_frames_are_sampled_evenly_and_anchors_carry_clip_frames():
    assert sample_frames(49, 8) == (0, 7, 14, 21, 27, 34, 41, 48)
    assert sample_frames(5, 8) == (0, 1, 2, 3, 4)
    assert sample_frames(9, 1) == (4,)
    assert sample_frames(9, 3) == (0, 4, 8)
    judge = Judge(lambda r: r.candidates[0].id)
    boxes = [Proposal(3, "man", box_at(4), 0.9), Proposal(7, "man", box_at(40), 0.8)]
    case = make_case(PAIR, [("id1", "id2")])
    (first,) = propose([case], frames_of, Boxes(boxes), ProposeSettings())
    assert first.payload.frames == (0, 2, 4, 6, 8, 10, 12, 14)
    row = run(case, Boxes(boxes), judge)
    assert [a.frame for a in row.payload.anchors] == [6, 14]
    assert [r.frame[0, 0, 0] for r in judge.requests] == [6, 14]


def test_candidates_are_tried_by_falling_score_with_fixed_ties_and_at_most_j_a_frame():
    script = [Proposal(f, "man", box_at(x), s) for f, x, s in [(1, 4, 0.5), (0, 20, 0.5), (0, 4, 0.5), (0, 40, 0.9)]]
    for order in (script, script[::-1]):
        judge = Judge(lambda _: None)
        run(make_case(PAIR, [("id1", "id2")]), Boxes(order), judge, boxes=2)
        tried = [(int(r.frame[0, 0, 0]), r.box.x0) for r in judge.requests]
        assert tried == [(0, 40.0), (0, 4.0), (2, 4.0)], "the third box of frame 0 is over the limit"


def test_the_verifier_sees_all_ids_of_the_class_without_an_anchor_and_no_others():
    judge = Judge(owner_of({4.0: "id1", 40.0: "id3"}))
    case = make_case({"id1": "man", "id2": "cup", "id3": "man"}, [("id1", "id2"), ("id1", "id3")])
    row = run(case, Boxes(PAIR_BOXES), judge)
    assert [tuple(c.id for c in r.candidates) for r in judge.requests] == [("id1", "id3"), ("id3",)]
    assert row.payload.interactions == ("<id1> meets <id3>",)


def test_a_box_of_an_id_that_failed_does_not_go_to_its_neighbour():
    """id1 is shown but never named with confidence; id2 must not inherit its box by being the only one left."""

    def rule(request: VerifyRequest) -> str | None:
        ids = [c.id for c in request.candidates]
        return None if len(ids) > 1 else ids[0]

    row = run(make_case(PAIR, [("id1", "id2")]), Boxes(PAIR_BOXES), Judge(rule))
    assert row.status is Status.REJECTED


def test_a_question_already_answered_is_not_asked_again():
    judge = Judge(lambda _: None)
    row = run(make_case(PAIR, [("id1", "id2")]), Boxes(PAIR_BOXES), judge)
    assert row.reason is Reason.UNGROUNDED
    assert len(judge.requests) == 2


def test_an_unknown_id_is_an_error_of_that_verdict_only():
    def rule(request: VerifyRequest) -> str | None:
        return "id7" if request.box.x0 == 4 else request.candidates[0].id

    boxes = [*PAIR_BOXES, Proposal(1, "man", box_at(20), 0.7)]
    row = run(make_case(PAIR, [("id1", "id2")]), Boxes(boxes), Judge(rule))
    wrong, *_ = row.payload.verdicts
    assert wrong.assigned_id is None and wrong.confidence == 0 and "id7" in wrong.rationale
    assert [a.box.x0 for a in row.payload.anchors] == [40.0, 20.0]


def test_a_bad_reply_is_an_error_of_that_verdict_only():
    def rule(request: VerifyRequest) -> str | None:
        if request.box.x0 == 4:
            raise BadReply("not JSON")
        return request.candidates[0].id

    boxes = [*PAIR_BOXES, Proposal(1, "man", box_at(20), 0.7)]
    row = run(make_case(PAIR, [("id1", "id2")]), Boxes(boxes), Judge(rule))
    assert row.payload.verdicts[0].rationale == "bad reply: not JSON"
    assert len(row.payload.anchors) == 2


def test_a_verdict_below_the_least_confidence_does_not_count():
    judge = Judge(lambda r: r.candidates[0].id, confidence=0.49)
    row = run(make_case(PAIR, [("id1", "id2")]), Boxes(PAIR_BOXES), judge)
    assert row.reason is Reason.UNGROUNDED
    assert "id1" in row.detail and "2 candidates" in row.detail


TRIO = {"id1": "man", "id2": "cup", "id3": "dog"}
TRIO_ACTS = [("id1", "id2"), ("id1", "id3"), ("id2", "id3")]
TRIO_BOXES = [
    Proposal(0, "man", box_at(4), 0.9),
    Proposal(0, "cup", box_at(20), 0.9),
    Proposal(0, "dog", box_at(40), 0.9),
]


@pytest.mark.parametrize("policy", ["interaction", "clip"])
def test_an_id_without_a_box_takes_its_interactions_with_it(policy: str):
    judge = Judge(owner_of({4.0: "id1", 20.0: "id2"}))
    row = run(make_case(TRIO, TRIO_ACTS), Boxes(TRIO_BOXES), judge, drop_policy=policy)
    assert row.payload.interactions == ("<id1> meets <id2>",)
    assert [a.id for a in row.payload.anchors] == ["id1", "id2"]
    assert {d.what: d.reason for d in row.payload.dropped} == {
        "id3": "ungrounded", "<id1> meets <id3>": "ungrounded", "<id2> meets <id3>": "ungrounded",
    }  # fmt: skip


def test_the_policies_differ_where_subject_and_object_both_fail():
    classes = {**TRIO, "id4": "cat"}
    acts = [("id1", "id2"), ("id3", "id4")]
    judge = Judge(owner_of({4.0: "id1", 20.0: "id2"}))
    kept = run(make_case(classes, acts), Boxes(TRIO_BOXES), judge, drop_policy="interaction")
    assert kept.payload.interactions == ("<id1> meets <id2>",)
    gone = run(make_case(classes, acts), Boxes(TRIO_BOXES), judge, drop_policy="clip")
    assert gone.reason is Reason.UNGROUNDED
    assert "<id3> meets <id4>" in gone.detail and "the detector found no cat" in gone.detail


def test_an_id_whose_partners_all_failed_goes_too():
    judge = Judge(owner_of({4.0: "id1", 20.0: "id2", 40.0: "id3"}))
    case = make_case({**TRIO, "id4": "cat"}, [("id1", "id2"), ("id3", "id4")])
    row = run(case, Boxes(TRIO_BOXES), judge)
    assert [a.id for a in row.payload.anchors] == ["id1", "id2"]
    assert {d.what: d.reason for d in row.payload.dropped}["id3"] == "no_interaction"


def test_tries_per_id_are_bounded():
    many = [Proposal(f, "man", box_at(x), 0.5) for f in range(8) for x in (0, 12, 24, 36)]
    judge = Judge(lambda _: None)
    row = run(make_case(PAIR, [("id1", "id2")]), Boxes(many), judge, max_verdicts_per_id=3)
    assert row.status is Status.REJECTED
    assert len(judge.requests) == 6, "three for id1, the next three for id2"


@pytest.mark.parametrize(("limit", "refused"), [(1, []), (3, [0]), (4, [0, 12])])
def test_records_keep_the_verdicts_that_gave_an_anchor_whatever_the_limit(limit: int, refused: list[float]):
    """These are at the least confidence that counts."""
    boxes = [Proposal(0, "man", box_at(x), 0.9 - x / 100) for x in (0, 12, 24, 36, 48)]
    judge = Judge(owner_of({36.0: "id1", 48.0: "id2"}), confidence=0.5)
    row = run(make_case(PAIR, [("id1", "id2")]), Boxes(boxes), judge, keep_verdicts=limit)
    kept = [(v.candidate.box.x0, v.assigned_id) for v in row.payload.verdicts]
    assert kept == [*((x, None) for x in refused), (36, "id1"), (48, "id2")]


def test_people_read_where_each_id_is_and_what_was_said_of_every_box():
    boxes = [Proposal(0, "man", box_at(x), 0.9 - x / 100) for x in (0, 12, 24)]
    row = run(make_case(PAIR, [("id1", "id2")]), Boxes(boxes), Judge(owner_of({12.0: "id1", 24.0: "id2"})))
    assert SPEC.lines(row.payload) == [
        "id1: anchor at frame 0, box 12,10–20,18, detector 0.78, verifier 0.90",
        "id2: anchor at frame 0, box 24,10–32,18, detector 0.66, verifier 0.90",
    ]
    assert SPEC.more(row.payload) == [
        "tried for id1: man at frame 0, box 0,10–8,18, detector 0.90 → none 0.90: by the script",
        "tried for id1: man at frame 0, box 12,10–20,18, detector 0.78 → id1 0.90: by the script",
        "tried for id2: man at frame 0, box 0,10–8,18, detector 0.90 → none 0.90: by the script",
        "tried for id2: man at frame 0, box 24,10–32,18, detector 0.66 → id2 0.90: by the script",
    ]


def test_the_crop_has_a_margin_and_stops_at_the_edge():
    frame = np.zeros((100, 100, 3), dtype=np.uint8)
    assert padded_crop(frame, Box(x0=20, y0=20, x1=70, y1=45), 0.08).shape == (29, 58, 3)
    assert padded_crop(frame, Box(x0=0, y0=0, x1=100, y1=50), 0.08).shape == (54, 100, 3)


def test_clips_wait_for_the_verifier_together_up_to_the_limit_and_rows_keep_their_order():
    waiting, most = 0, 0

    class Slow(Judge):
        async def verify(self, request: VerifyRequest) -> VerdictReply:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            await asyncio.sleep(0.02)
            waiting -= 1
            return await super().verify(request)

    cases = [make_case(PAIR, [("id1", "id2")], number) for number in range(1, 8)]
    rows = list(verify(proposed(cases), frames_of, Slow(lambda r: r.candidates[0].id), VerifySettings(), 3))
    assert [r.key for r in rows] == [c.clip.clip_id for c in cases]
    assert all(r.status is Status.ACCEPTED for r in rows)
    assert most == 3


def test_where_infrastructure_fails_the_rows_of_the_other_clips_come_first():
    calls = 0

    def rule(request: VerifyRequest) -> str | None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise InfrastructureError("server down")
        return request.candidates[0].id

    cases = [make_case(PAIR, [("id1", "id2")], number) for number in (1, 2, 3)]
    rows = verify(proposed(cases), frames_of, Judge(rule), VerifySettings(), at_once=1)
    assert [next(rows).key, next(rows).key] == [c.clip.clip_id for c in cases[1:]]
    with pytest.raises(InfrastructureError):
        next(rows)


def test_closing_early_leaves_nothing_running():
    judge = Judge(lambda r: r.candidates[0].id)
    cases = [make_case(PAIR, [("id1", "id2")], number) for number in range(1, 6)]
    rows = verify(proposed(cases), frames_of, judge, VerifySettings(), at_once=1)
    next(rows)
    rows.close()
    assert len(judge.requests) < 2 * len(cases)


def test_unknown_settings_are_errors():
    with pytest.raises(ValidationError):
        ProposeSettings(boxs=3)
    with pytest.raises(ValidationError):
        VerifySettings(drop_policy="both")


@pytest.mark.parametrize(
    ("name", "bad"),
    [("exclusion_iou", 0), ("exclusion_iou", 1.1), ("min_confidence", -0.1), ("min_confidence", 1.1),
     ("max_verdicts_per_id", 0), ("keep_verdicts", 0), ("crop_padding", -0.1)],
)  # fmt: skip
def test_settings_that_make_no_sense_are_errors(name: str, bad: float):
    with pytest.raises(ValidationError, match=name):
        VerifySettings(**{name: bad})
