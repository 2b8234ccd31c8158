"""The parts, in order, each with its share of the time."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Literal, NamedTuple

Size = Literal["full", "toy"]
Figures = dict[str, Any]
Run = Callable[[Size], Iterator[Figures]]
"""Yields figures as soon as it has them. All parts can be run in one process too, as the tests do."""


class Part(NamedTuple):
    name: str
    share: float
    """Seconds of 540, by counting; the last word has whoever ran it."""
    module: str

    def load(self) -> Run:
        run: Run = getattr(import_module(f"benchmarks.gpu.{self.module}"), self.name)
        return run


PARTS = (
    Part("machine", 25, "machine"),
    Part("parity", 25, "attention"),
    Part("kernels", 25, "attention"),
    Part("step", 140, "steps"),
    Part("ladder", 100, "steps"),
    Part("compiled", 70, "steps"),
    Part("vae", 80, "vae"),
    Part("maps", 45, "steps"),
    Part("analyze", 25, "reading"),
    Part("trace", 40, "trace"),
    Part("detector", 55, "engines"),
    Part("tracker", 60, "engines"),
)
