"""Grey places that differ in brightness alone."""

import numpy as np

H, W = 90, 160


def place(seed: int, low: int = 60, high: int = 150) -> np.ndarray:
    """A grey wall with patches, twice as wide as the picture."""
    patches = np.random.default_rng(seed).integers(low, high, (6, 20), dtype=np.uint8)
    grey = np.kron(patches, np.ones((H // 6, 2 * W // 20), dtype=np.uint8))
    return np.stack([grey] * 3, axis=-1)


def view(wall: np.ndarray, x: int = 0) -> np.ndarray:
    return np.ascontiguousarray(wall[:, x : x + W])
