"""What it costs to read every block while a video is made, at the 5B's width and length."""

from collections.abc import Iterator

import torch

from benchmarks.analyze import Size as Clip
from benchmarks.analyze import overhead
from benchmarks.gpu.parts import Figures, Size


def analyze(size: Size) -> Iterator[Figures]:
    """Six blocks: what a block costs does not depend on how many there are."""
    if size == "full":
        yield from overhead(Clip(49, 480, 720, 6, 48, steps=2), torch.device("cuda"), 3)
    else:
        yield from overhead(Clip(5, 32, 48, 2, 1), torch.device("cpu"), 1)
