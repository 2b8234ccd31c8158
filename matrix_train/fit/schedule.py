"""Learning rate and λ as functions of the step, so that a resumed run needs no scheduler state."""

import math


def cosine_with_warmup(step: int, steps: int, warmup: int, left: float = 0.0) -> float:
    """Factor of the peak at a 0-based step: linear up over `warmup` steps, then a half cosine down to `left`."""
    if step < warmup:
        return (step + 1) / warmup
    return left + (1.0 - left) * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
