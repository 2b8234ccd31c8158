"""The learning rate as a function of the step, so that a resumed run needs no scheduler state."""

import math


def cosine_with_warmup(step: int, steps: int, warmup: int) -> float:
    """Factor of the peak rate at a 0-based step: linear up over `warmup` steps, then a half cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
