"""Where everything stands at every moment. Lengths are in units of the safe region's height (docs/world.md).

x grows to the right from the middle of the picture, y is the depth on the floor (larger is nearer and lower in the
picture), z the height above the floor. A puppet is moved by segments: functions of time over an interval.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

Point = tuple[float, float, float]
Path = Callable[[float], Point]

REST = (0.09, 0.44)
"""Hands hanging down, in units of the puppet's own size: forwards, up."""
CHEST = (0.27, 0.62)
FRONT = (0.36, 0.58)
LOW = (0.34, 0.10)
UP = (0.26, 0.98)
BACK = (-0.16, 0.92)


def smooth(u: float) -> float:
    """0 → 1 with no speed at either end."""
    u = min(max(u, 0.0), 1.0)
    return u * u * (3 - 2 * u)


@dataclass
class Puppet:
    """A drawn thing with its path. `size` is its height (an animal's length), `half` half its width."""

    key: str
    cls: str
    size: float
    half: float
    mouth: bool = False
    """Animals hold with the mouth, not with hands."""
    path: list[tuple[float, float, Path]] = field(default_factory=list)
    faces: list[tuple[float, int]] = field(default_factory=list)
    hands: list[tuple[float, tuple[float, float]]] = field(default_factory=list)
    holds: list[tuple[float, float, str]] = field(default_factory=list)
    """Things: by whom they are held, and when."""
    touches: list[tuple[float, float, Callable[[float], Point]]] = field(default_factory=list)
    """When the hand lies on a point of the theatre."""
    kicks: list[float] = field(default_factory=list)
    aims: list[tuple[float, float, Callable[[float], Point]]] = field(default_factory=list)
    waves: tuple[float, float] | None = None
    flies: bool = False

    def go(self, t0: float, t1: float, path: Path) -> None:
        self.path.append((t0, t1, path))
        self.path.sort(key=lambda s: s[0])


class Theatre:
    """All puppets. `edge` is half the picture's width: beyond it a puppet is out of view."""

    def __init__(self, edge: float) -> None:
        self.edge = edge
        self.puppets: dict[str, Puppet] = {}

    def position(self, key: str, t: float) -> Point:
        """Feet (things: bottom) of a puppet at time t, in seconds."""
        puppet = self.puppets[key]
        for t0, t1, holder in puppet.holds:
            if t0 <= t < t1:
                hand = self.hand(holder, t)
                reach = 0.45 * puppet.half * self.face(holder, t)
                return hand[0] + reach, hand[1] + 0.004, max(hand[2] - 0.5 * self.tall(puppet), 0.0)
        current = puppet.path[0]
        for segment in puppet.path:
            if segment[0] <= t:
                current = segment
        t0, t1, path = current
        return path(min(max(t, t0), t1))

    @staticmethod
    def tall(puppet: Puppet) -> float:
        """Height above the floor; `size` is a length for animals, sticks and ropes."""
        if puppet.cls in ("stick", "rope"):
            return 2 * puppet.half
        return 0.62 * puppet.size if puppet.mouth else puppet.size

    def holder(self, key: str, t: float) -> str | None:
        return next((who for t0, t1, who in self.puppets[key].holds if t0 <= t < t1), None)

    def face(self, key: str, t: float) -> int:
        """1 to the right, -1 to the left: as told, else the direction of the walk, else the last one."""
        puppet, told = self.puppets[key], 0
        for at, face in puppet.faces:
            if at <= t:
                told = face
        if told:
            return told
        for back in (0.0, 0.15, 0.4, 1.0, 2.0, 4.0, 7.0):
            step = self._step(puppet, t - back)
            if step:
                return step
        for ahead in (0.3, 0.8, 1.6, 3.0, 5.0):
            step = self._step(puppet, t + ahead)
            if step:
                return step
        return 1

    def _step(self, puppet: Puppet, t: float) -> int:
        if t < 0 or puppet.holds:
            return 0
        dx = self.position(puppet.key, t + 0.06)[0] - self.position(puppet.key, max(t - 0.06, 0.0))[0]
        return 0 if abs(dx) < 0.002 else (1 if dx > 0 else -1)

    def hand(self, key: str, t: float) -> Point:
        """The hand (an animal's mouth) of a puppet as a point of the theatre."""
        puppet = self.puppets[key]
        for t0, t1, where in puppet.touches:
            if t0 <= t <= t1:
                return where(t)
        x, y, z = self.position(key, t)
        hx, hz = self._posture(puppet, t)
        return x + self.face(key, t) * hx * puppet.size, y, z + hz * puppet.size

    @staticmethod
    def _posture(puppet: Puppet, t: float) -> tuple[float, float]:
        rest = REST if not puppet.mouth else MOUTH[puppet.cls]
        if not puppet.hands:
            return rest
        before = [k for k in puppet.hands if k[0] <= t]
        after = [k for k in puppet.hands if k[0] > t]
        if not before:
            return puppet.hands[0][1]
        if not after:
            return before[-1][1]
        (ta, a), (tb, b) = before[-1], after[0]
        u = smooth((t - ta) / (tb - ta))
        return a[0] + u * (b[0] - a[0]), a[1] + u * (b[1] - a[1])

    def reaching(self, key: str, t: float) -> bool:
        """Whether the hands do something: they are then drawn as reaching, not as swinging."""
        puppet = self.puppets[key]
        if any(t0 <= t <= t1 for t0, t1, _ in puppet.touches):
            return True
        return bool(puppet.hands) and self._posture(puppet, t) != REST


MOUTH: dict[str, tuple[float, float]] = {"dog": (0.60, 0.46), "cat": (0.58, 0.44), "bird": (0.62, 0.46)}
"""Where an animal's mouth is, in units of its length."""


def still(point: Point) -> Path:
    return lambda _t: point


def line(t0: float, t1: float, start: Point, end: Point, even: bool = False) -> Path:
    """From start to end; `even` keeps one speed, else it starts and stops softly."""

    def at(t: float) -> Point:
        u = (t - t0) / (t1 - t0)
        u = min(max(u, 0.0), 1.0) if even else smooth(u)
        return tuple(a + u * (b - a) for a, b in zip(start, end, strict=True))  # type: ignore[return-value]

    return at


def arc(t0: float, t1: float, start: Point, end: Point, apex: float) -> Path:
    """A throw: a parabola that rises `apex` above the straight line."""

    def at(t: float) -> Point:
        u = min(max((t - t0) / (t1 - t0), 0.0), 1.0)
        x, y, z = (a + u * (b - a) for a, b in zip(start, end, strict=True))
        return x, y, z + 4 * apex * u * (1 - u)

    return at


def fall(t0: float, t1: float, start: Point) -> Path:
    """Down to the floor, faster and faster."""

    def at(t: float) -> Point:
        u = min(max((t - t0) / (t1 - t0), 0.0), 1.0)
        return start[0], start[1], start[2] * (1 - u * u)

    return at


def slide(t0: float, t1: float, start: Point, distance: float) -> Path:
    """Along the floor, fast at first, then coming to rest."""

    def at(t: float) -> Point:
        u = min(max((t - t0) / (t1 - t0), 0.0), 1.0)
        return start[0] + distance * (1 - (1 - u) ** 2), start[1], start[2]

    return at
