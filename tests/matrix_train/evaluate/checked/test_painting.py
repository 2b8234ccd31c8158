"""A planted fault in pictures: what its tracks say is what is seen, on plain blocks and in a rendered scene."""

import numpy as np
import pytest

from matrix_train.evaluate.checked.bias import PAINTED
from matrix_train.evaluate.checked.faults import FAULTS, NoRoom, seen
from matrix_train.evaluate.checked.painting import painted
from matrix_train.evaluate.protocol.prompt import Mask, chosen_frames
from matrix_train.evaluate.seen.footage import Footage, Measures
from schemas.rle import fill, run_lengths
from schemas.truth import VideoTruth
from tests.matrix_train.evaluate.made_up import BOX, FRAMES, HEIGHT, MAN, WIDTH, pushed

COLOURS = {MAN: (200, 40, 40), BOX: (40, 60, 200)}
GROUND = np.linspace(90, 150, WIDTH, dtype=np.uint8)[None, :, None].repeat(HEIGHT, 0).repeat(3, 2)


def mask(truth: VideoTruth, key: str, frame: int) -> Mask:
    rle = next(i.masks[frame] for i in truth.instances if i.id == key)
    return np.zeros((HEIGHT, WIDTH), bool) if rle is None else fill(run_lengths(rle, HEIGHT, WIDTH), HEIGHT, WIDTH)


def footage(colours: dict[str, tuple[int, int, int]]) -> Footage:
    kept = chosen_frames(FRAMES)
    frames = np.stack([GROUND] * len(kept))
    for picture, frame in zip(frames, kept, strict=True):
        for key, colour in colours.items():
            picture[mask(pushed(), key, frame)] = colour
    return Footage(FRAMES, 10.0, HEIGHT, WIDTH, tuple(kept), frames, Measures(smoothness=1, dynamics=0, sharpness=0))


@pytest.mark.parametrize("name", PAINTED)
def test_the_pictures_show_what_the_tracks_say(name: str) -> None:
    edit, true = FAULTS[name].edit(pushed()), footage(COLOURS)
    shown, truth = painted(pushed(), edit, true), seen(pushed(), edit)
    for frame in shown.kept:
        expected = GROUND.copy()
        for key in COLOURS.keys() - edit.shown.keys():
            expected[mask(truth, key, frame)] = COLOURS[key]
        for key, sprites in edit.shown.items():
            if (sprite := sprites[frame]) is not None:
                colour = np.array(COLOURS[sprite.of], np.uint8)
                expected[mask(truth, key, frame)] = 255 - colour if sprite.recoloured else colour
        apart = np.abs(shown.pictures[frame].astype(int) - expected)
        # What is never uncovered is filled in from around; all else is as it should be, to the bit.
        assert (apart.max(2) > 0).mean() < 0.02
        assert apart.max() <= 12
    assert np.array_equal(true.frames, footage(COLOURS).frames)


def test_what_looks_about_the_same_in_other_colours_does_not_drift() -> None:
    with pytest.raises(NoRoom):
        painted(pushed(), FAULTS["drifts"].edit(pushed()), footage({MAN: (200, 40, 40), BOX: (120, 130, 125)}))
