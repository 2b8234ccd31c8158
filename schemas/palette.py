"""The fixed colour of every ID: in first-frame ID maps (paper §3 `I0`), drawn overlays and judge prompts."""

import colorsys

from schemas.base import InstanceId

Rgb = tuple[int, int, int]

NAMED: tuple[tuple[str, Rgb], ...] = (
    ("red", (230, 30, 50)),
    ("green", (40, 170, 70)),
    ("blue", (30, 90, 230)),
    ("yellow", (255, 215, 0)),
    ("purple", (145, 50, 200)),
    ("cyan", (40, 205, 225)),
    ("orange", (245, 130, 30)),
    ("pink", (250, 120, 200)),
    ("brown", (140, 90, 40)),
    ("white", (245, 245, 245)),
)
"""id1 to id10, the most that a MATRIX-11K clip has: colours that a person and a judge can name and tell apart."""

LAST = 99
"""The highest ID number that `InstanceId` allows."""


def _spread(number: int) -> Rgb:
    """Colours beyond the named ones: hues a golden angle apart, in the two brightnesses the named ones avoid."""
    hue, value = number * 0.61803398875 % 1.0, 0.75 if number % 2 else 0.45
    r, g, b = colorsys.hsv_to_rgb(hue, 0.45, value)
    return round(r * 255), round(g * 255), round(b * 255)


PALETTE: tuple[Rgb, ...] = (
    (0, 0, 0),
    *(rgb for _, rgb in NAMED),
    *(_spread(n) for n in range(len(NAMED) + 1, LAST + 1)),
)
"""RGB by palette index. 0 is the background; index k is `id<k>`."""


def number(instance: InstanceId) -> int:
    """Palette index of an ID: 3 for 'id3'."""
    return int(instance.removeprefix("id"))


def colour(instance: InstanceId) -> Rgb:
    """RGB of an ID."""
    return PALETTE[number(instance)]


def css(instance: InstanceId) -> str:
    """The colour of an ID for a page: "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*colour(instance))


def colour_name(instance: InstanceId) -> str:
    """The colour in a word, for prompts such as "(red bbox)". KeyError above id10, whose colours have no plain name."""
    if number(instance) > len(NAMED):
        raise KeyError(instance)
    return NAMED[number(instance) - 1][0]
