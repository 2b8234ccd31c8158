"""Colour words of phrases, and which pixels they may mean."""

import numpy as np
import pytest

from tasks.engines.embedded.colours import NAMES, colour_words, is_called, is_skin, to_lab


@pytest.mark.parametrize(
    ("phrase", "names"),
    [
        ("woman in a white T-shirt and blue jeans", ("white", "blue")),
        ("a Navy cup", ("blue",)),
        ("person in a mustard-yellow top", ("orange",)),
        ("a bored man", ()),
        ("red ball, red as can be", ("red",)),
        ("silver kettle", ("gray",)),
    ],
)
def test_words(phrase: str, names: tuple[str, ...]):
    assert colour_words(phrase) == names


@pytest.mark.parametrize(
    ("name", "rgb"),
    [
        ("red", (206, 32, 40)), ("orange", (240, 130, 24)), ("yellow", (240, 214, 40)), ("green", (36, 150, 62)),
        ("blue", (34, 76, 204)), ("purple", (124, 44, 158)), ("pink", (246, 128, 180)), ("brown", (124, 74, 36)),
        ("white", (240, 240, 238)), ("black", (28, 28, 32)), ("gray", (128, 128, 128)),
    ],
)  # fmt: skip
def test_a_plain_colour_and_its_shade_have_their_own_name_and_few_others(name: str, rgb: tuple[int, int, int]):
    plain = np.array([[rgb]], dtype=np.uint8)
    shaded = (plain * 0.85).astype(np.uint8)
    assert is_called(name, to_lab(plain)).all() and is_called(name, to_lab(shaded)).all()
    assert [other for other in NAMES if is_called(other, to_lab(plain)).all()] == [name]


def test_skin_light_to_dark():
    skins = np.array([[(226, 184, 152), (196, 146, 110), (140, 96, 68)]], dtype=np.uint8)
    others = np.array([[(206, 32, 40), (34, 76, 204), (128, 128, 128), (240, 240, 238)]], dtype=np.uint8)
    assert is_skin(to_lab(skins)).all()
    assert not is_skin(to_lab(others)).any()
