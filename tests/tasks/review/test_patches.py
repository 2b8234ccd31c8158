"""Patches fold into a state, undo takes the last one back, and edits change masks and nothing else."""

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.media.clips import decode_mask, encode_mask
from tasks.review.patches import OPS, Decide, Finish, Give, Op, Paint, Patch, Redo, Swap, Undo, fold
from tasks.review.tracks import apply, digest

TRACKS = {"id1": "a", "id2": "b"}


def row(*ops: Op, tracks: dict[str, str] | None = None) -> list[Patch]:
    return [Patch("c", "ann", n, float(n), op, tracks or TRACKS) for n, op in enumerate(ops, start=1)]


def yes(name: str) -> Decide:
    return Decide(id=name, decision="accept")


def box(x: int) -> str:
    mask = np.zeros((8, 8), bool)
    mask[2:5, x : x + 2] = True
    return encode_mask(mask) or ""


def test_undo_and_redo_go_back_and_forth_and_a_new_patch_ends_redo():
    state = fold(row(yes("id1"), yes("id2"), Undo(), Undo(), Redo()))
    assert list(state.decisions) == ["id1"] and state.can_redo and state.seq == 5
    state = fold(row(yes("id1"), Undo(), yes("id2"), Redo()))
    assert list(state.decisions) == ["id2"] and not state.can_redo
    assert fold(row(yes("id1"), Undo(), Undo(), Undo())).decisions == {}


def test_what_comes_after_the_end_opens_the_clip_again():
    assert fold(row(yes("id1"), yes("id2"), Finish())).finished == 3.0
    assert fold(row(yes("id1"), Finish(), yes("id2"))).finished is None
    assert fold(row(yes("id1"), Finish(), yes("id2"), Undo())).finished == 2.0


def test_a_decision_holds_for_its_track_and_lapses_with_it():
    said = row(yes("id1"), yes("id2"), Finish())
    assert fold(said, TRACKS).finished == 3.0
    changed = fold(said, {"id1": "a", "id2": "other"})
    assert list(changed.decisions) == ["id1"] and changed.lapsed == ("id2",) and changed.finished is None
    assert fold(said, {"id1": "a"}).finished == 3.0, "all that is left has its word"


def test_edits_change_masks_from_a_frame_on():
    masks = {"id1": tuple(box(x) for x in range(4)), "id2": tuple(box(x + 4) for x in range(4))}
    swapped = apply(masks, [Swap(id="id1", other="id2", frame=2)], (8, 8))
    assert swapped["id1"] == (*masks["id1"][:2], *masks["id2"][2:])
    assert apply(swapped, [Swap(id="id1", other="id2", frame=2)], (8, 8)) == masks
    merged = apply(masks, [Give(id="id2", to="id1", frame=0)], (8, 8))
    assert merged["id2"] == (None,) * 4
    assert decode_mask(merged["id1"][0], 8, 8).sum() == 12
    cut = apply(masks, [Give(id="id2", to=None, frame=3)], (8, 8))
    assert cut["id2"] == (*masks["id2"][:3], None) and digest(cut["id2"]) != digest(masks["id2"])
    painted = apply(masks, [Paint(id="id1", frame=1, masks=(box(5), None))], (8, 8))
    assert painted["id1"] == (masks["id1"][0], box(5), None, masks["id1"][3])


@pytest.mark.parametrize(
    "edit",
    [
        Swap(id="id1", other="id9", frame=0),
        Give(id="id1", to="id1", frame=0),
        Paint(id="id1", frame=3, masks=(None, None)),
        Paint(id="id1", frame=0, masks=("]]]]",)),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(edit):
    masks = {"id1": (box(0),) * 4, "id2": (box(4),) * 4}
    with pytest.raises(ValueError):
        apply(masks, [edit], (8, 8))


@pytest.mark.parametrize(
    "sent",
    [
        '{"op": "decide", "id": "id1", "decision": "perhaps"}',
        '{"op": "decide", "id": "../id1", "decision": "drop"}',
        '{"op": "decide", "id": "id1", "decision": "drop", "reason": "<script>"}',
        '{"op": "paint", "id": "id1", "frame": -1, "masks": [null]}',
        '{"op": "paint", "id": "id1", "frame": 0, "masks": []}',
        '{"op": "exec", "id": "id1"}',
        '{"op": "swap", "id": "id1", "other": "id2", "frame": 0, "more": 1}',
    ],
)
def test_what_is_no_patch_is_refused(sent):
    with pytest.raises(ValidationError):
        OPS.validate_json(sent)
