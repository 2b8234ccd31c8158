"""The fingerprint moves with everything that could change a row, and with nothing else."""

from pydantic import Field

from schemas.settings import Settings
from tasks.store.fingerprint import fingerprint


class Some(Settings):
    not_in_rows = frozenset({"threads"})

    limit: int = Field(default=3, description="changes rows")
    threads: int = Field(default=1, description="does not")


def test_it_moves_with_settings_version_engine_and_upstream():
    base = fingerprint("ground", 1, Some(), ["a/1"], "up")
    others = {
        fingerprint("track", 1, Some(), ["a/1"], "up"),
        fingerprint("ground", 2, Some(), ["a/1"], "up"),
        fingerprint("ground", 1, Some(limit=4), ["a/1"], "up"),
        fingerprint("ground", 1, Some(), ["a/2"], "up"),
        fingerprint("ground", 1, Some(), ["a/1"], "down"),
    }
    assert len(others) == 5 and base not in others
    assert len(base) == 12


def test_it_does_not_move_with_what_is_not_in_rows():
    assert fingerprint("ground", 1, Some(threads=8), [], "") == fingerprint("ground", 1, Some(), [], "")
