"""Which blocks of a video diffusion transformer ground words and carry instances: docs/training/analyze.md (paper §4).

from matrix_train.analyze import Role, tap
with tap(pipe, prompts, roles) as reading:
    pipe(prompt=prompts, ...)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matrix_train.analyze.tapping import Role, tap

__all__ = ["Role", "tap"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: the command line reads layers without a model's libraries."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from matrix_train.analyze import tapping

    return getattr(tapping, name)
