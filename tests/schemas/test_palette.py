"""Colours are fixed, distinct, and named as far as a judge needs."""

import itertools

import pytest

from schemas.palette import LAST, NAMED, PALETTE, colour, colour_name, number


def test_every_id_has_its_own_colour() -> None:
    assert len(PALETTE) == LAST + 1 == len(set(PALETTE))
    assert PALETTE[0] == (0, 0, 0)
    assert (colour("id1"), colour_name("id1"), number("id10")) == ((230, 30, 50), "red", 10)


def test_the_named_colours_are_far_apart() -> None:
    for (a, x), (b, y) in itertools.combinations([("background", (0, 0, 0)), *NAMED], 2):
        assert sum(abs(p - q) for p, q in zip(x, y, strict=True)) > 100, (a, b)


def test_no_name_beyond_the_tenth() -> None:
    with pytest.raises(KeyError):
        colour_name("id11")
