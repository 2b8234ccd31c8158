"""Videos on disk for the tests of the command."""

from pathlib import Path

import pytest

from tasks.engines.served import patience
from tests.matrix_train.evaluate.on_disk import lay


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two videos below v/, their prompts p.jsonl, tracks t.tracks.json and ID map t.png."""
    return lay(tmp_path)
