"""Figures of many parts. One colour dominates each: a person's garment, an animal's coat, a thing's surface.

Coordinates are pixels; each figure is drawn from its feet (things: the middle of its bottom) upwards. Heads, legs and
edges keep to a fixed range of other tones.
"""

import math

from tasks.world.brush import Brush, Look, Rgb, Stand, Xy, shade
from tasks.world.things import ball, book, bottle, box, cup, rod


def draw(brush: Brush, look: Look, stand: Stand) -> None:
    _FIGURES[look.cls](brush, look, stand)


def _person(brush: Brush, look: Look, stand: Stand) -> None:
    h, f, w = look.size, stand.face, look.half
    child = look.cls in ("boy", "girl")
    lady = look.cls in ("woman", "girl")
    hand = stand.hand
    lean = 0.0
    if hand is not None:
        lean = min(max((0.42 * h - (stand.y - hand[1])) / (0.32 * h), 0.0), 1.0)
    x, y = stand.x, stand.y
    hip = (x - f * 0.04 * h * lean, y - 0.44 * h + 0.04 * h * lean)
    chest = (x + f * (0.01 + 0.17 * lean) * h, y - (0.80 - 0.22 * lean) * h)
    head_r = (0.105 if child else 0.085) * h
    head = (chest[0] + f * 0.1 * h * lean + f * 0.01 * h, chest[1] - 0.055 * h - head_r * (1 - 0.25 * lean))
    stride = 0.15 * h * math.sin(stand.step) if stand.moving else 0.03 * h
    lift = 0.03 * h
    front = (x + f * stride + f * 0.34 * h * stand.swing, y - 0.18 * h * stand.swing)
    rear = (x - f * stride, y)
    up = lift * max(math.cos(stand.step), 0.0) if stand.moving else 0.0
    down = lift * max(-math.cos(stand.step), 0.0) if stand.moving else 0.0
    leg, dark = look.trim, shade(look.trim, 0.75)
    brush.limb(hip, (rear[0], rear[1] - 0.03 * h - down), 0.085 * h, dark)
    brush.limb(
        (rear[0], rear[1] - 0.02 * h - down),
        (rear[0] + f * 0.05 * h, rear[1] - 0.02 * h - down),
        0.045 * h,
        (40, 36, 34),
    )
    brush.limb(hip, (front[0], front[1] - 0.03 * h - up), 0.085 * h, leg)
    brush.limb(
        (front[0], front[1] - 0.02 * h - up),
        (front[0] + f * 0.05 * h, front[1] - 0.02 * h - up),
        0.045 * h,
        (48, 44, 42),
    )
    arm, main = shade(look.main, 0.8), look.main
    swing = 0.12 * h * math.sin(stand.step) if stand.moving else 0.0
    shoulder = (chest[0], chest[1] + 0.06 * h)
    back_hand = (shoulder[0] - f * swing - f * 0.02 * h, shoulder[1] + 0.32 * h)
    if hand is not None:
        back_hand = (hand[0] - f * 0.01 * h, hand[1] - 0.02 * h)
    if stand.waving:
        back_hand = (shoulder[0] + 0.1 * h * math.sin(stand.waving), shoulder[1] - 0.32 * h)
    _arm(brush, shoulder, back_hand, h, arm, look.skin)
    flare = (1.45 if lady else 1.0) * 0.9 * w
    base = 0.18 if lady else 0.06
    brush.area([
        (chest[0] - 0.95 * w, chest[1]), (chest[0] + 0.95 * w, chest[1]),
        (hip[0] + flare, hip[1] + base * h), (hip[0] - flare, hip[1] + base * h),
    ], main)  # fmt: skip
    brush.oval((chest[0], chest[1] + 0.02 * h), 0.95 * w, 0.06 * h, main)
    brush.area([
        (chest[0] - f * 0.95 * w, chest[1] + 0.02 * h), (chest[0] - f * 0.55 * w, chest[1] + 0.02 * h),
        (hip[0] - f * 0.6 * flare, hip[1] + base * h), (hip[0] - f * flare, hip[1] + base * h),
    ], shade(main, 0.82))  # fmt: skip
    if look.striped:
        for level in (0.28, 0.62):
            wide, tall = 0.95 * w + level * (flare - 0.95 * w), 0.07
            mid = (chest[0] + level * (hip[0] - chest[0]), chest[1] + level * (hip[1] + base * h - chest[1]))
            brush.area([
                (mid[0] - wide, mid[1]), (mid[0] + wide, mid[1]), (mid[0] + wide, mid[1] + tall * h),
                (mid[0] - wide, mid[1] + tall * h),
            ], shade(main, 0.84))  # fmt: skip
    if lady:
        brush.oval((head[0] - f * 0.55 * head_r, head[1] + 0.45 * head_r), 0.72 * head_r, 1.45 * head_r, look.hair)
    brush.oval(head, head_r, head_r * 1.1, look.skin)
    brush.oval((head[0] - f * 0.22 * head_r, head[1] - 0.45 * head_r), head_r * 0.95, head_r * 0.72, look.hair)
    brush.oval((head[0] + f * 0.5 * head_r, head[1]), 0.11 * head_r, 0.14 * head_r, (30, 26, 24))
    near_hand = (shoulder[0] + f * swing + f * 0.04 * h, shoulder[1] + 0.33 * h) if hand is None else hand
    _arm(brush, (shoulder[0] - f * 0.02 * h, shoulder[1]), near_hand, h, shade(main, 0.9), look.skin)


def _arm(brush: Brush, shoulder: Xy, hand: Xy, h: float, sleeve: Rgb, skin: Rgb) -> None:
    """Sleeve to the wrist with a bent elbow, then the hand."""
    dx, dy = hand[0] - shoulder[0], hand[1] - shoulder[1]
    length = math.hypot(dx, dy)
    bend = math.sqrt(max((0.19 * h) ** 2 - (length / 2) ** 2, 0.0))
    elbow = (shoulder[0] + dx / 2, shoulder[1] + dy / 2 + bend * 0.8)
    brush.limb(shoulder, elbow, 0.07 * h, sleeve)
    brush.limb(elbow, hand, 0.062 * h, sleeve)
    brush.oval(hand, 0.038 * h, 0.038 * h, skin)


def _beast(brush: Brush, look: Look, stand: Stand) -> None:
    """Dog or cat; `size` is the length of the body with head."""
    n, f, dog = look.size, stand.face, look.cls == "dog"
    x, y, coat = stand.x, stand.y, look.main
    dark, light = shade(coat, 0.72), shade(coat, 1.3)
    for k, (at, back) in enumerate(((-0.28, True), (0.26, True), (-0.22, False), (0.32, False))):
        swing = 0.11 * n * math.sin(stand.step + (math.pi if k in (1, 2) else 0)) if stand.moving else 0.0
        brush.limb(
            (x + f * at * n, y - 0.36 * n), (x + f * (at * n + swing), y - 0.03 * n), 0.1 * n, dark if back else coat
        )
    tail = 0.12 * n * math.sin(stand.step * 0.7 + 0.5)
    root = (x - f * 0.38 * n, y - 0.5 * n)
    tip = (x - f * 0.56 * n, y - (0.78 if dog else 0.86) * n + tail)
    brush.limb(root, tip, 0.07 * n, dark)
    brush.oval((x, y - 0.42 * n), 0.42 * n, 0.18 * n, coat)
    brush.oval((x + f * 0.05 * n, y - 0.33 * n), 0.26 * n, 0.08 * n, light)
    mouth = stand.hand or (x + f * 0.58 * n, y - 0.46 * n)
    head = (mouth[0] - f * (0.17 if dog else 0.12) * n, mouth[1] - (0.08 if dog else 0.06) * n)
    brush.limb((x + f * 0.3 * n, y - 0.46 * n), head, 0.2 * n, coat)
    brush.oval(head, 0.15 * n, 0.14 * n, coat)
    if dog:
        brush.limb((head[0] + f * 0.08 * n, head[1] + 0.05 * n), mouth, 0.1 * n, light)
        brush.oval((mouth[0] + f * 0.02 * n, mouth[1] - 0.02 * n), 0.03 * n, 0.03 * n, (24, 20, 20))
        brush.limb(
            (head[0] - f * 0.06 * n, head[1] - 0.08 * n), (head[0] - f * 0.1 * n, head[1] + 0.1 * n), 0.09 * n, dark
        )
    else:
        for side in (-0.08, 0.07):
            e = head[0] + f * side * n
            brush.area(
                [(e - 0.05 * n, head[1] - 0.09 * n), (e + 0.05 * n, head[1] - 0.09 * n), (e, head[1] - 0.24 * n)], dark
            )
        brush.oval((mouth[0] - f * 0.01 * n, mouth[1]), 0.06 * n, 0.045 * n, light)
        for at in (-0.2, 0.0, 0.2):
            brush.limb((x + at * n, y - 0.59 * n), (x + (at - f * 0.03) * n, y - 0.45 * n), 0.04 * n, dark)
    brush.oval((head[0] + f * 0.05 * n, head[1] - 0.04 * n), 0.022 * n, 0.026 * n, (20, 20, 20))


def _bird(brush: Brush, look: Look, stand: Stand) -> None:
    n, f, x, y = look.size, stand.face, stand.x, stand.y
    coat, dark, light = look.main, shade(look.main, 0.7), shade(look.main, 1.35)
    if not stand.airborne:
        for at in (-0.04, 0.1):
            brush.limb((x + f * at * n, y - 0.25 * n), (x + f * at * n, y - 0.02 * n), 0.05 * n, (190, 130, 50))
    body = (x, y - 0.42 * n)
    brush.area(
        [(x - f * 0.25 * n, y - 0.5 * n), (x - f * 0.62 * n, y - 0.38 * n), (x - f * 0.6 * n, y - 0.56 * n)], dark
    )
    brush.oval(body, 0.36 * n, 0.23 * n, coat, -0.2 * f)
    brush.oval((x + f * 0.08 * n, y - 0.33 * n), 0.2 * n, 0.1 * n, light)
    head = (x + f * 0.3 * n, y - 0.62 * n)
    brush.oval(head, 0.17 * n, 0.16 * n, coat)
    tip = stand.hand or (x + f * 0.62 * n, y - 0.6 * n)
    brush.area(
        [(head[0] + f * 0.1 * n, head[1] - 0.07 * n), (head[0] + f * 0.1 * n, head[1] + 0.08 * n), tip], (226, 160, 40)
    )
    brush.oval((head[0] + f * 0.07 * n, head[1] - 0.04 * n), 0.03 * n, 0.03 * n, (18, 18, 18))
    flap = math.sin(stand.step) if stand.airborne else -0.25
    brush.area([
        (x + f * 0.14 * n, y - 0.5 * n), (x - f * 0.2 * n, y - 0.46 * n),
        (x - f * 0.34 * n, y - (0.5 + 0.42 * flap) * n), (x - f * 0.06 * n, y - (0.52 + 0.5 * flap) * n),
    ], dark)  # fmt: skip


_FIGURES = {
    "person": _person, "man": _person, "woman": _person, "boy": _person, "girl": _person, "dog": _beast, "cat": _beast,
    "bird": _bird, "ball": ball, "box": box, "cup": cup, "book": book, "bottle": bottle, "stick": rod, "rope": rod,
}  # fmt: skip
