"""The command that goes on with a build: every setting that is not the default stands in it."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

from flows.settings import BuildSettings


def resume_command(settings: BuildSettings) -> str:
    """A line for the shell."""
    words = ["matrix_data", "build", settings.source]
    words += ["--captions", settings.captions] if settings.captions else []
    words += ["--out", settings.out]
    given = {"source", "captions", "out"}
    plain = BuildSettings(source=settings.source, out=settings.out).model_dump(mode="json", exclude=given)
    for name, value in _changed(settings.model_dump(mode="json", exclude=given), plain):
        words += ["--set", f"{name}={json.dumps(value)}"]
    return shlex.join(words)


def _changed(now: dict[str, Any], before: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings that differ, as (dotted name, value)."""
    for name, value in now.items():
        if isinstance(value, dict) and isinstance(old := before.get(name), dict) and set(value) == set(old) != set():
            yield from ((f"{name}.{below}", what) for below, what in _changed(value, old))
        elif name not in before or value != before[name]:
            yield name, value
