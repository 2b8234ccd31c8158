"""Interlaced frames to progressive ones: as many, with the same times. Progressive frames pass as they are."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import av
from av.filter import Graph

from tasks.ingest.decode import Shown


class Deinterlacer:
    """Feed frames in order; they come back in order, interlaced ones a frame later: yadif looks at both neighbours.

    A run ends where neighbours do not belong together (another size, damage, a jump of the clock).
    """

    def __init__(self, forced: Callable[[], str | None]) -> None:
        """`forced` is "tff" or "bff" where frames are interlaced though none says so, else None."""
        self._forced = forced
        self._graph: Graph | None = None
        self._waiting: deque[Shown] = deque()
        self._before: Shown | None = None

    def see(self, shown: Shown) -> Iterator[Shown]:
        if self._before and (shown.jump or shown.sound != self._before.sound or _form(shown) != _form(self._before)):
            yield from self.rest()
        self._before = shown
        order = self._forced()
        if self._graph is None:
            if not (order or shown.frame.interlaced_frame):
                yield shown
                return
            self._graph = _graph(shown.frame, order)
        self._waiting.append(shown)
        self._graph.vpush(shown.frame)
        yield from self._pull()

    def rest(self) -> Iterator[Shown]:
        """What still waits for a neighbour, at the end of a run."""
        if self._graph:
            self._graph.vpush(None)
            yield from self._pull()
        self._graph, self._before = None, None

    def _pull(self) -> Iterator[Shown]:
        assert self._graph
        while self._waiting:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield replace(self._waiting.popleft(), frame=frame)


_ANY_UNIT = Fraction(1, 1000)
"""Times are kept beside the graph, which needs one of its own."""


def _form(shown: Shown) -> tuple[int, int, str]:
    return shown.frame.width, shown.frame.height, shown.frame.format.name


def _graph(frame: av.VideoFrame, order: str | None) -> Graph:
    graph = Graph()
    graph.threads = 1
    options = f"mode=send_frame:parity={order}:deint=all" if order else "mode=send_frame:parity=auto:deint=interlaced"
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_ANY_UNIT)
    graph.link_nodes(source, graph.add("yadif", options), graph.add("buffersink")).configure()
    return graph
