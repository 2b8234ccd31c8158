"""On which side of the split a group of videos stands."""

import hashlib

from schemas.dataset import Split


def split_of(group: str, val_share: float) -> Split:
    """The side of a group, whatever else is in the dataset: by a hash, evenly spread over [0, 1)."""
    place = int.from_bytes(hashlib.sha256(f"split {group}".encode()).digest()[:8], "big") / 2**64
    return "val" if place < val_share else "train"
