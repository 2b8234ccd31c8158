"""What is drawn is where it should be, for clips that came any distance."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from schemas import Box, Curated, Tracked
from schemas.palette import colour
from schemas.review import Reviewed
from tasks.media.overlay import Label, contact_sheet, draw, draw_small, labels_at, pick_frames
from tasks.outcome import Case
from tasks.store.folder import Folder
from tests.builders import draw as drawn
from tests.builders import make_case


def test_masks_are_tinted_and_the_rest_is_left_alone() -> None:
    frame = np.full((120, 200, 3), 100, np.uint8)
    mask = np.zeros((120, 200), bool)
    mask[60:100, 40:90] = True
    picture = draw(frame, [Label("id3", "id3 cup", mask)])
    assert (frame == 100).all()
    wanted = 100 * 0.6 + np.array(colour("id3")) * 0.4
    assert np.abs(picture[80, 60] - wanted).max() < 2
    assert (picture[60, 50] == colour("id3")).all()  # the box's upper edge
    assert (picture[105:] == 100).all() and (picture[:, 100:] == 100).all()
    assert (picture[60 - 8, 42] == colour("id3")).all()  # its tag


def test_boxes_and_masks_follow_the_size() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    picture = draw_small(frame, [Label("id1", "x", box=Box(x0=100, y0=50, x1=180, y1=90))], 100)
    assert picture.shape == (50, 100, 3)
    assert (picture[25, 60] == colour("id1")).all() and not picture[35, 70].any()


def test_frames_are_spread_and_hold_the_anchors() -> None:
    assert pick_frames(49, 8, [24, 24, 99]) == [0, 8, 16, 24, 32, 40, 48]
    assert pick_frames(3, 8) == [0, 1, 2]
    assert pick_frames(49, 2, [5, 6, 7]) == [5, 6]


def test_a_sheet_for_clips_that_came_any_distance(tmp_path: Path) -> None:
    made = make_case(Folder(str(tmp_path)), 2, things=2, note="<b>ünï</b> \x00\x1b[31m\u202e " + "x" * 400)
    case = Case(made.clip, made.results[:-1])  # curated, not reviewed yet
    frames = drawn(2, 2, 9, 96, 144).frames
    fewer = case.plus(case.of(Curated).model_copy(update={"ids": ("id1", "id2")}))
    assert [k.id for k in labels_at(fewer, 0)] == ["id1", "id2"]
    mended = made.of(Tracked).tracks[0].model_copy(update={"masks": (None,) * 9})
    people = made.of(Reviewed).model_copy(update={"ids": ("id1", "id2"), "tracks": (mended,)})
    first, second = labels_at(made.plus(people), 0)
    assert first.mask is not None and not first.mask.any() and second.id == "id2"
    seen = set()
    for reached in (
        case,
        fewer,
        Case(case.clip, case.results[:-1]),
        Case(case.clip, case.results[:-2]),
        Case(case.clip),
    ):
        png = contact_sheet(reached, frames)
        seen.add(png)
        assert png == contact_sheet(reached, frames)
        with Image.open(io.BytesIO(png)) as image:
            assert image.width == 4 * 368 + 8 and image.height > 500
    assert len(seen) == 4  # with all tracks curated the sheet is that of the tracks
