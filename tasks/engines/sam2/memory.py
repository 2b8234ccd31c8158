"""What the model keeps of one object while it goes one way through the frames, and how much of that it still needs.

SAM2 looks at the prompted frame, the memory maps of the last few frames and the object pointers of some more. All that
is older can never be asked for again: dropping it keeps memory flat and changes no result (test_memory.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Output = dict[str, Any]
"""What the model made of one object in one frame. `maskmem_features` and `maskmem_pos_enc` are the large part."""

Features = tuple[torch.Tensor, ...]
"""One frame as the image encoder sees it, finest level first: [h·w, 1, C] each."""

Prompt = NDArray[np.float32] | NDArray[np.bool_]
"""A box [4] `xyxy` in clip pixels, or a mask [H, W]."""

LARGE = ("maskmem_features", "maskmem_pos_enc")


@dataclass
class Memory:
    """One object in one direction of time."""

    at: int
    """The prompted frame."""
    prompt: Output
    recent: dict[int, Output] = field(default_factory=dict)
    """By frame; never the prompted one."""

    def forget(self, now: int, maps: int, pointers: int) -> None:
        """Drop what no frame beyond `now` will ask for: pointers farther than `pointers`, maps farther than `maps`."""
        for t in list(self.recent):
            if abs(t - now) > pointers:
                del self.recent[t]
            elif abs(t - now) > maps:
                for key in LARGE:
                    self.recent[t].pop(key, None)


class Model(Protocol):
    """One implementation of SAM2. Methods are called with inference mode and autocast on, one at a time."""

    network: Any
    device: torch.device
    maps: int
    """How many frames back memory maps are used."""
    pointers: int
    """How many frames back object pointers are used."""
    licence: str
    """What people are told of it; empty where it is Apache's."""

    def look(self, frame: NDArray[np.uint8]) -> Features:
        """The image encoder's features of an RGB frame uint8 [H, W, 3]."""
        ...

    def prompt(
        self, features: Features, t: int, prompts: Sequence[Prompt], shape: tuple[int, int], length: int
    ) -> tuple[list[Memory], torch.Tensor]:
        """A fresh memory per prompt on frame t, all boxes or all masks, and mask logits [K, h, w].

        shape: (height, width) of the clip; length: its frames.
        """
        ...

    def follow(
        self, features: Features, t: int, memories: Sequence[Memory], backwards: bool, length: int
    ) -> torch.Tensor:
        """Find the objects in frame t, put it into their memories, and return mask logits [K, h, w]."""
        ...
