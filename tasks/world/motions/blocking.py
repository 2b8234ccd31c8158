"""Where the actors of a motion stand and walk: its lane, its puppets, and their ways."""

from dataclasses import dataclass

from tasks.world.theatre import FRONT, Puppet, Theatre, line, still

Beats = dict[str, tuple[float, float]]
"""By "verb", "to", "with" or "catch" the seconds from and to which it is seen."""


@dataclass(frozen=True)
class Lane:
    """The room an act has: from x0 to x1 at depth y, played in direction d (1 to the right)."""

    x0: float
    x1: float
    y: float
    d: int
    enters: bool = False
    """The subject comes in from outside the picture."""

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    def x(self, share: float) -> float:
        """A place in the lane, 0 where the motion begins, 1 where it ends."""
        return self.x0 + share * self.width if self.d > 0 else self.x1 - share * self.width


@dataclass(frozen=True)
class Cue:
    """The puppets of an act, by key."""

    subject: str
    object: str
    recipient: str | None = None
    instrument: str | None = None
    catch: bool = False


def reach(puppet: Puppet) -> float:
    """How far in front of its feet a puppet's outstretched hand (or mouth) is."""
    return (0.6 if puppet.mouth else FRONT[0]) * puppet.size


def walk(
    theatre: Theatre, key: str, t0: float, t1: float, x: float, y: float | None = None, even: bool = False
) -> None:
    """Walk from where the puppet is at t0, looking where it goes."""
    a = theatre.position(key, t0)
    b = (x, a[1] if y is None else y, a[2])
    puppet = theatre.puppets[key]
    puppet.go(t0, t1, line(t0, t1, a, b, even))
    if abs(b[0] - a[0]) > 0.01:
        puppet.faces.append((t0, 1 if b[0] > a[0] else -1))


def place(theatre: Theatre, key: str, x: float, y: float, z: float = 0.0) -> None:
    """Stand there from the beginning, unless an earlier act has already placed it."""
    puppet = theatre.puppets[key]
    if not puppet.path and not puppet.holds:
        puppet.go(0.0, 0.0, still((x, y, z)))


def begin(theatre: Theatre, key: str, lane: Lane, share: float) -> None:
    """The subject's first place: in its lane, or outside the picture."""
    outside = -lane.d * (theatre.edge + 0.2)
    place(theatre, key, outside if lane.enters else lane.x(share), lane.y)
