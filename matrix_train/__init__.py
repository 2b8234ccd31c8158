"""Trains interaction-aware LoRAs on the shards. Imports `schemas`, never `flows`; of `tasks` only engines: a tracker
when masks are asked of one (`sample/trackers.py`), a verifier when one judges (`evaluate/judge/by_vlm.py`).

from matrix_train import load_into
pipe = load_into(DiffusionPipeline.from_pretrained(base), Path("runs/a"))
"""

from typing import Any

__all__ = ["load_into"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: it loads diffusers, which data workers have no use for."""
    if name != "load_into":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from matrix_train.export.export import load_into

    return load_into
