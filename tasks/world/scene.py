"""One video that can be drawn: its frames, its maps of visible pixels, its truth. `tasks/world/staging.py` decides."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas import Rle
from schemas.truth import FrameRange, Level, TrueInstance, TrueTriplet, VideoTruth
from tasks.world import backdrop, figures
from tasks.world.brush import Brush, Look, Rgb, Stand, Xy, shade
from tasks.world.captions import Caption
from tasks.world.motions import Beats
from tasks.world.plots import Plot
from tasks.world.theatre import Point, Puppet, Theatre
from tasks.world.words import KIND

Picture = NDArray[np.uint8]

_OCCLUDER = 255


@dataclass(frozen=True)
class Lens:
    """From the theatre's floor to pixels: the picture's middle, pixels per unit, and the camera's shift in units."""

    x: float
    y: float
    scale: float
    dx: float
    dy: float

    def pixel(self, p: Point) -> Xy:
        return self.x + self.scale * (p[0] + self.dx), self.y + self.scale * (p[1] - p[2] + self.dy)


@dataclass
class Shot:
    """An uncut stretch of a video: its own theatre, background and camera."""

    start: float
    end: float
    theatre: Theatre
    beats: tuple[Beats, ...]
    view: backdrop.Backdrop
    camera: backdrop.Camera
    posts: tuple[tuple[float, float], ...]
    """Things in front of everything, as (x, half width)."""


@dataclass
class Scene:
    """A video that can be drawn. `frames()` may be called again and gives the same."""

    seed: int
    level: Level
    width: int
    height: int
    rate: Fraction
    count: int
    plot: Plot
    caption: Caption
    ids: dict[str, str]
    """Actor key → id1, id2, …"""
    shots: tuple[Shot, ...]
    looks: dict[str, Look]
    unit: float
    blur: float
    streak: int
    noise: float
    post_colour: Rgb
    order: tuple[str, ...]
    """Actor keys in the order of their IDs; the label of the k-th is k + 1."""

    def frames(self) -> Iterator[tuple[Picture, Picture]]:
        """Per frame: RGB uint8 [H, W, 3] and the label map uint8 [H, W] of visible pixels (0 background)."""
        grain = np.random.default_rng([self.seed, 11])
        tile = grain.normal(0, self.noise, (self.height + 64, self.width + 64, 3)).clip(-90, 90)
        plus, minus = tile.clip(0).astype(np.uint8), (-tile).clip(0).astype(np.uint8)
        travelled: dict[str, float] = {}
        before: dict[str, Point] = {}
        shot_index = -1
        for n in range(self.count):
            time = float(n / self.rate)
            index = max(i for i, s in enumerate(self.shots) if s.start <= time + 1e-9)
            if index != shot_index:
                shot_index, travelled, before = index, {}, {}
            drawn, labels = self._draw(self.shots[index], time - self.shots[index].start, travelled, before)
            picture = cv2.blur(drawn, (self.streak, 1)) if self.streak > 1 else drawn
            if self.blur > 0:
                picture = cv2.GaussianBlur(picture, (0, 0), self.blur)
            dy, dx = (int(v) for v in grain.integers(0, 64, 2))
            window = (slice(dy, dy + self.height), slice(dx, dx + self.width))
            picture = cv2.subtract(cv2.add(picture, plus[window]), minus[window])
            yield np.asarray(picture, dtype=np.uint8), labels

    def _draw(
        self, shot: Shot, t: float, travelled: dict[str, float], before: dict[str, Point]
    ) -> tuple[Picture, Picture]:
        shift = shot.camera.at(t, shot.end - shot.start)
        picture = np.ascontiguousarray(shot.view.frame(t, shift))
        labels = np.zeros((self.height, self.width), dtype=np.uint8)
        brush = Brush(picture, labels)
        lens = Lens(self.width / 2, self.height / 2, self.unit * shift[2], shift[0], shift[1])
        spots = {key: shot.theatre.position(key, t) for key in self.order}
        for key, (x, y, z) in spots.items():
            self._shadow(picture, lens.pixel((x, y, 0.0)), shot.theatre.puppets[key].half * lens.scale, z)
        for key in sorted(self.order, key=lambda k: (spots[k][1], k)):
            puppet, here = shot.theatre.puppets[key], spots[key]
            last = before.get(key, shot.theatre.position(key, max(t - float(1 / self.rate), 0.0)))
            walked = math.hypot(here[0] - last[0], here[1] - last[1])
            rolls = KIND[puppet.cls] == "thing"
            travelled[key] = travelled.get(key, 0.0) + (here[0] - last[0] if rolls else walked)
            before[key] = here
            brush.label = self.order.index(key) + 1
            look = replace(self.looks[key], size=self.looks[key].size * shift[2], half=self.looks[key].half * shift[2])
            moving = walked * float(self.rate) > 0.03
            figures.draw(brush, look, stance(shot.theatre, puppet, here, t, travelled[key], moving, lens))
        brush.label = _OCCLUDER
        for x, half in shot.posts:
            left, _ = lens.pixel((x - half, 0.0, 0.0))
            right, bottom = lens.pixel((x + half, 0.47, 0.0))
            brush.area([(left, -9), (right, -9), (right, bottom), (left, bottom)], self.post_colour)
            lit = left + 0.3 * (right - left)
            brush.area([(left, -9), (lit, -9), (lit, bottom), (left, bottom)], shade(self.post_colour, 1.2))
        return picture, labels

    @staticmethod
    def _shadow(picture: Picture, centre: Xy, half: float, z: float) -> None:
        """A soft dark oval on the floor; part of the background, never of a mask."""
        w, h = int(half * 1.1) + 2, int(half * 0.3) + 2
        x0, y0 = int(centre[0]) - w, int(centre[1]) - h
        x1, y1 = min(x0 + 2 * w, picture.shape[1]), min(y0 + 2 * h, picture.shape[0])
        x0, y0 = max(x0, 0), max(y0, 0)
        if x1 - x0 < 3 or y1 - y0 < 3:
            return
        region = picture[y0:y1, x0:x1]
        dark = region.copy()
        cv2.ellipse(dark, (int(centre[0]) - x0, int(centre[1]) - y0), (w, h), 0, 0, 360, (30, 30, 34), -1)
        amount = 0.35 if z < 0.05 else 0.18
        cv2.addWeighted(dark, amount, region, 1 - amount, 0, dst=region)

    def truth(self, name: str, masks: dict[str, list[Rle | None]], expect: str = "accept") -> VideoTruth:
        """The truth record for a file of this name, given the masks of every frame by actor key."""
        actors = {a.key: a for a in (*self.plot.cast, *(e for e, _ in self.plot.extras))}
        instances = tuple(
            TrueInstance(
                id=self.ids[key], cls=actors[key].cls, colour=actors[key].colour, phrase=actors[key].phrase,
                mentions=self.caption.mentions.get(key, ()), masks=tuple(masks[key]),
            )
            for key in self.order
        )  # fmt: skip
        return VideoTruth(
            video=name, seed=self.seed, level=self.level, width=self.width, height=self.height, frames=self.count,
            fps=float(self.rate), caption=self.caption.text, expect=expect, instances=instances,
            triplets=self._triplets(),
        )  # fmt: skip

    def _triplets(self) -> tuple[TrueTriplet, ...]:
        out = []
        for t in self.caption.triplets:
            act = self.plot.acts[t.act]
            name = "verb"
            if t.object == act.instrument:
                name = "with"
            elif t.object == act.recipient:
                name = "to"
            elif t.subject == act.recipient:
                name = "catch"
            shown = [self._frames(shot, shot.beats[t.act][name]) for shot in self.shots]
            out.append(TrueTriplet(
                subject=self.ids[t.subject], verb=t.verb, object=self.ids[t.object], spans=t.spans, contact=t.contact,
                dynamism=t.dynamism, start_frame=shown[0].start, end_frame=shown[0].end, repeats=tuple(shown[1:]),
            ))  # fmt: skip
        return tuple(out)

    def _frames(self, shot: Shot, beat: tuple[float, float]) -> FrameRange:
        start = math.ceil((shot.start + max(beat[0], 0.0)) * self.rate)
        end = min(math.floor((shot.start + beat[1]) * self.rate) + 1, self.count)
        return FrameRange(start=start, end=max(end, start + 1))


def stance(
    theatre: Theatre, puppet: Puppet, here: Point, t: float, travelled: float, moving: bool, lens: Lens
) -> Stand:
    """How a puppet is to be drawn at time t. `travelled` is its way so far, in units."""
    x, y = lens.pixel(here)
    aim = next((lens.pixel(where(t)) for a, b, where in puppet.aims if a <= t <= b), None)
    hand = None
    if aim is not None:
        hand = lens.pixel(theatre.hand(puppet.holds[0][2], t))
    elif theatre.reaching(puppet.key, t):
        hand = lens.pixel(theatre.hand(puppet.key, t))
    if puppet.flies:
        step = 15 * t
    elif KIND[puppet.cls] == "thing":
        step = travelled / puppet.half
    else:
        step = 2 * math.pi * travelled / (0.75 * puppet.size)
    swing = max((1 - abs(t - hit) / 0.28 for hit in puppet.kicks), default=0.0)
    waves = puppet.waves is not None and puppet.waves[0] <= t <= puppet.waves[1]
    return Stand(
        x,
        y,
        theatre.face(puppet.key, t),
        step,
        moving,
        hand,
        max(swing, 0.0),
        8 * t if waves else 0.0,
        aim,
        puppet.flies,
    )
