"""Things and instruments, drawn from the middle of their bottom upwards, in pixels."""

import itertools
import math

from tasks.world.brush import Brush, Look, Stand, shade

_PAGES = (236, 230, 214)
_CAP = (60, 56, 54)


def ball(brush: Brush, look: Look, stand: Stand) -> None:
    r, c = look.half, (stand.x, stand.y - look.half)
    brush.oval(c, r, r, look.main)
    for k in range(3):
        a = stand.step + 2 * math.pi * k / 3
        brush.limb(c, (c[0] + 0.78 * r * math.cos(a), c[1] + 0.78 * r * math.sin(a)), 0.16 * r, shade(look.main, 0.7))
    brush.oval((c[0] - 0.32 * r, c[1] - 0.38 * r), 0.24 * r, 0.17 * r, shade(look.main, 1.5))


def box(brush: Brush, look: Look, stand: Stand) -> None:
    x, y, w, h = stand.x, stand.y, look.half, look.size
    top, side = 0.16 * h, 0.22 * w
    front, edge, middle = h - top, x + w - side, x - side / 2
    brush.block(x - w, edge, y, y - front, look.main)
    brush.area([(edge, y), (x + w, y - top), (x + w, y - h), (edge, y - front)], shade(look.main, 0.68))
    brush.area([(x - w, y - front), (edge, y - front), (x + w, y - h), (x - w + side, y - h)], shade(look.main, 1.25))
    brush.block(middle - 0.1 * w, middle + 0.1 * w, y, y - front, shade(look.main, 0.82))


def cup(brush: Brush, look: Look, stand: Stand) -> None:
    y, w, h, f = stand.y, look.half, look.size, stand.face
    body, x = 0.74 * w, stand.x - f * 0.2 * w
    inner, outer = x + f * body, x + f * (body + 0.34 * w)
    corners = ((inner, y - 0.70 * h), (outer, y - 0.66 * h), (outer, y - 0.36 * h), (inner, y - 0.32 * h))
    for a, b in itertools.pairwise(corners):
        brush.limb(a, b, 0.15 * w, shade(look.main, 0.8))
    top, low = y - 0.92 * h, 0.76 * body
    brush.area([(x - body, top), (x + body, top), (x + low, y), (x - low, y)], look.main)
    brush.oval((x, y - 0.9 * h), body, 0.1 * h, shade(look.main, 1.35))
    brush.oval((x, y - 0.88 * h), 0.8 * body, 0.065 * h, shade(look.main, 0.55))
    brush.block(x - 0.85 * body, x + 0.85 * body, y - 0.3 * h, y - 0.45 * h, shade(look.main, 0.75))


def book(brush: Brush, look: Look, stand: Stand) -> None:
    x, y, w, h, f = stand.x, stand.y, look.half, look.size, stand.face
    brush.block(x - w, x + w, y, y - h, look.main)
    brush.block(x + f * 0.86 * w, x + f * w, y - 0.05 * h, y - 0.95 * h, _PAGES)
    brush.block(x - f * w, x - f * 0.8 * w, y, y - h, shade(look.main, 0.65))
    for level in (0.68, 0.52):
        brush.block(x - 0.45 * w, x + 0.5 * w, y - level * h, y - (level + 0.07) * h, shade(look.main, 1.45))


def bottle(brush: Brush, look: Look, stand: Stand) -> None:
    x, y, w, h = stand.x, stand.y, look.half, look.size
    brush.block(x - w, x + w, y, y - 0.58 * h, look.main)
    neck, shoulder = 0.38 * w, y - 0.76 * h
    brush.area([(x - w, y - 0.58 * h), (x + w, y - 0.58 * h), (x + neck, shoulder), (x - neck, shoulder)], look.main)
    brush.block(x - neck, x + neck, shoulder, y - 0.92 * h, look.main)
    brush.block(x - 0.42 * w, x + 0.42 * w, y - 0.9 * h, y - h, _CAP)
    brush.block(x - w, x + w, y - 0.2 * h, y - 0.44 * h, shade(look.main, 1.4))
    brush.block(x - 0.75 * w, x - 0.5 * w, y - 0.04 * h, y - 0.56 * h, shade(look.main, 1.25))


def rod(brush: Brush, look: Look, stand: Stand) -> None:
    """Stick or rope: through the hand towards the point it aims at, else lying flat."""
    n, thick = look.size, look.half
    a, b = (stand.x - n / 2, stand.y - thick), (stand.x + n / 2, stand.y - thick)
    if stand.aim is not None and stand.hand is not None:
        hand = stand.hand
        dx, dy = stand.aim[0] - hand[0], stand.aim[1] - hand[1]
        length = max(math.hypot(dx, dy), 1e-6)
        ahead = min(length, 0.94 * n)
        tail = n - ahead
        a = (hand[0] - dx / length * tail, hand[1] - dy / length * tail)
        b = (hand[0] + dx / length * ahead, hand[1] + dy / length * ahead)
    brush.limb(a, b, 2 * thick, look.main)
    knots = 7 if look.cls == "rope" else 2
    for k in range(1, knots + 1):
        u = k / (knots + 1)
        brush.oval(
            (a[0] + u * (b[0] - a[0]), a[1] + u * (b[1] - a[1])), 0.8 * thick, 0.8 * thick, shade(look.main, 0.7)
        )
