"""Captions and files are matched family by family, and that shows in nothing."""

import random

import pytest

from tasks.select import by_name
from tasks.select.by_name import Video, match
from tasks.select.names import family, plain, stem, tails
from tasks.select.sidecar import CaptionRow

BASES = ("x", "x.mp4", "x.y.mp4", "17", "17.mp4", ".h", ".h.mp4", "..", "a b.mov", "Z.tar.gz", "x.", "caf\u00e9.mp4")


def some_name(rng: random.Random) -> str:
    return "/".join([*rng.choices("abc", k=rng.randrange(4)), rng.choice(BASES)])


def test_names_that_fit_are_of_one_family():
    for base in BASES:
        for form in (base, stem(base), *tails(plain(f"a/b/{base}"))):
            assert family(form) == family(base)


@pytest.mark.parametrize("seed", range(20))
def test_any_number_of_parts_gives_the_same(seed, monkeypatch):
    rng = random.Random(seed)
    names = sorted({some_name(rng) for _ in range(40)})
    videos = [Video(f"/b/{name}", name, rng.choice([None, "same", name])) for name in names]
    rows = [CaptionRow(some_name(rng), f"line {n}", rng.choice("ABC"), "set", None) for n in range(40)]
    found = []
    for at_once in (10**6, 7, 1):
        monkeypatch.setattr(by_name, "AT_ONCE", at_once)
        found.append(match(videos, rows))
    assert found[0] == found[1] == found[2] and found[0].row and found[0].orphans
