"""Who has to look next, and what several words on a clip come to."""

from collections.abc import Collection

import numpy as np
import pytest

from schemas import Rle, TrackNumbers
from tasks.media.clips import encode_mask
from tasks.review.agreement import by_label, kappa
from tasks.review.patches import Act, Decide, Edit, Finish, Op, Paint, Patch, fold
from tasks.review.rules import Outcome, doubt, still_held, unfinished, wants_second, worse_of
from tasks.review.words import Reviewable, Said
from tasks.store.folder import Folder
from tests.builders import make_case


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Reviewable:
    return Reviewable(make_case(Folder(str(tmp_path_factory.mktemp("w"))), things=2, frames=5))


def state(*ops: Op):
    return fold([Patch("c", "ann", n, float(n), op, {}) for n, op in enumerate(ops, start=1)])


def said(ends: dict[str, str], *edits: Edit) -> list[Op]:
    """A finished word: decisions by ID, of which those that drop say why, and what was mended."""
    decided = [Decide(id=i, decision=end, reason="drift" if end == "drop" else "") for i, end in ends.items()]
    return [*decided, *edits, Finish()]


def outcome(clip: Reviewable, share: float = 1.0, admins: Collection[str] = (), **words: list[Op]) -> Outcome:
    """What people's words come to; by reviewer, in the order in which they came."""
    patches = {
        who: [Patch(clip.clip, who, seq, 100.0 * turn + seq, op, clip.digests) for seq, op in enumerate(ops, start=1)]
        for turn, (who, ops) in enumerate(words.items())
    }
    return clip.outcome(Said(patches, frozenset(admins), "x"), share, 0)


YES = {"id1": "accept", "id2": "accept", "id3": "accept"}
NO = YES | {"id2": "drop"}


def test_a_clip_is_done_when_every_track_has_an_end():
    ids = ["id1", "id2"]
    assert "id2 has no decision" in unfinished(state(Decide(id="id1", decision="accept")), ids)
    fix = [Decide(id="id1", decision="accept"), Decide(id="id2", decision="fix")]
    assert "not mended" in unfinished(state(*fix), ids)
    assert unfinished(state(*fix, Paint(id="id2", frame=0, masks=(None,))), ids) == ""
    assert "say why" in unfinished(state(Decide(id="id1", decision="drop")), ["id1"])


def test_a_triplet_lives_as_long_as_both_its_ends(clip):
    acts = clip.acts
    assert [a.object for a in still_held(acts, ["id1", "id3"])] == ["id3"]
    assert still_held(acts, ["id2", "id3"]) == []


def test_a_seeded_share_goes_to_a_second_person():
    clips = [f"{n:016x}" for n in range(4000)]
    drawn = [c for c in clips if wants_second(c, 0.05, 0)]
    assert 150 < len(drawn) < 250 and drawn == [c for c in clips if wants_second(c, 0.05, 0)]
    assert drawn != [c for c in clips if wants_second(c, 0.05, 1)]
    assert not any(wants_second(c, 0.0, 0) for c in clips) and all(wants_second(c, 1.0, 0) for c in clips)


def test_the_way_of_a_clip_between_people(clip):
    yes, no = said(YES), said(NO)
    assert outcome(clip).need == "first"
    assert outcome(clip, ann=yes).need == "second" and outcome(clip, share=0.0, ann=yes).need == "nobody"
    assert outcome(clip, ann=said(YES | {"id1": "drop"})).need == "nobody", "only accepted clips are looked at twice"
    assert outcome(clip, ann=yes, bob=yes).need == "nobody"
    assert outcome(clip, ann=yes, bob=no).need == "third"
    third = outcome(clip, ann=yes, bob=no, cat=no)
    assert third.need == "nobody" and third.ends == {"id1": True, "id2": False, "id3": True}
    assert third.word is not None and third.word.reviewer == "bob"
    judged = outcome(clip, admins={"root"}, ann=yes, root=no)
    assert judged.word is not None and judged.word.reviewer == "root" and not judged.ends["id2"]
    last = outcome(clip, admins={"root", "boss"}, ann=yes, root=no, boss=yes)
    assert last.word is not None and last.word.reviewer == "boss" and last.ends["id2"], "of two admins the later"


def box(clip: Reviewable, x: int) -> Rle:
    mask = np.zeros(clip.size, bool)
    mask[5:15, x : x + 10] = True
    painted = encode_mask(mask)
    assert painted is not None
    return painted


def test_who_mends_what_another_accepted_differs_from_him(clip):
    fix, yes = YES | {"id2": "fix"}, said(YES)
    mended = said(fix, Paint(id="id2", frame=3, masks=(box(clip, 5),)))
    assert outcome(clip, ann=yes, bob=mended).need == "third"
    assert outcome(clip, ann=mended, bob=mended).need == "nobody", "one and the same mask"
    again = said(fix, Paint(id="id2", frame=3, masks=(clip.masks["id2"][3],)))
    assert outcome(clip, ann=yes, bob=again).need == "nobody", "what was painted is what was there"
    gone = said(NO, Paint(id="id2", frame=3, masks=(box(clip, 5),)))
    assert outcome(clip, ann=said(NO), bob=gone).need == "nobody", "no mask of a dropped track counts"

    otherwise = said(fix, Paint(id="id2", frame=3, masks=(box(clip, 6),)))
    for third, wins in ((mended, "bob"), (otherwise, "bob"), (yes, "ann")):
        came = outcome(clip, ann=yes, bob=mended, cat=third)
        assert came.word is not None and came.word.reviewer == wins and all(came.ends.values())
    judged = outcome(clip, admins={"root"}, ann=yes, bob=mended, root=otherwise)
    assert judged.word is not None and judged.word.reviewer == "root"


def test_who_takes_a_triplet_out_or_rates_it_otherwise_differs(clip):
    act, yes = clip.acts[1], said(YES)
    rated = act.model_copy(update={"rating": act.rating.model_copy(update={"contact": act.rating.contact % 5 + 1})})
    for change in (None, rated):
        changed = said(YES, Act(text=act.text, act=change))
        assert outcome(clip, ann=yes, bob=changed).need == "third"
        came = outcome(clip, ann=yes, bob=changed, cat=changed)
        assert came.word is not None and came.word.reviewer == "bob"
    without = said(NO, Act(text=clip.acts[0].text, act=None))
    assert clip.acts[0].object == "id2"
    assert outcome(clip, ann=said(NO), bob=without).need == "nobody", "it goes with its track anyway"


def numbers(name: str, **more: float) -> TrackNumbers:
    plain = TrackNumbers(
        id=name, visible_share=1, longest_gap=0, area_jump=0, fragments=0, anchor_iou=1, side=0.2, same_class_iou=0
    )  # fmt: skip
    return plain.model_copy(update=more)


def test_of_two_that_cover_one_thing_the_worse_goes():
    found = {"id1": numbers("id1", anchor_iou=0.7), "id2": numbers("id2")}
    assert worse_of(("id1", "id2"), found) == "id1"
    assert worse_of(("id2", "id10"), {"id2": numbers("id2"), "id10": numbers("id10")}) == "id10", "of equals the later"


def test_doubt_is_of_the_weakest_track():
    sure, drifting = numbers("id1"), numbers("id2", least_likeness=0.5)
    assert doubt([sure], [1.0]) == 0 < doubt([sure], [0.9]) < doubt([sure, drifting], [0.9]) < 1


def test_kappa_is_that_of_the_textbook():
    """Landis and Koch's kind of table: 20 and 15 agreed, 5 and 10 not, which is 0.4 by hand."""
    pairs = [("a", "a")] * 20 + [("a", "d")] * 5 + [("d", "a")] * 10 + [("d", "d")] * 15
    found = kappa(pairs)
    assert found.value == pytest.approx(0.4) and found.agreed == 0.7 and found.n == 50
    rng = np.random.default_rng(0)
    drawn = [kappa([pairs[i] for i in rng.integers(0, 50, 50)]).value or 0.0 for _ in range(1500)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.05) and found.high == pytest.approx(high, abs=0.05)


def test_kappa_at_its_ends():
    assert kappa([]).value is None
    assert kappa([("a", "a")] * 5).value is None, "chance alone would agree"
    whole = kappa([("a", "a")] * 5 + [("d", "d")] * 5)
    assert (whole.value, whole.low, whole.high) == (1.0, 1.0, 1.0)
    assert set(by_label([("accept", "fix"), ("drop", "drop")])) == {"accept", "fix", "drop"}
