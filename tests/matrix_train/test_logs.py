"""What a run says, and to whom."""

import io
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from matrix_train.config import load_config
from matrix_train.errors import UserError
from matrix_train.logs import RunLog
from tests.matrix_train.fitting import TINY


def test_a_log_file_gets_a_line_a_reading_and_a_terminal_one_line(tmp_path: Path) -> None:
    config = load_config(TINY, ["log.to=[]", "train.steps=5"])
    said = {}
    for terminal in (False, True):
        file = io.StringIO()
        run = tmp_path / str(terminal)
        run.mkdir()
        with RunLog(run, config, 0, Console(file=file, force_terminal=terminal, width=200)) as log:
            for step in (2, 4):
                log.advance(step, f"loss {step}.0 · 1.50 s/step · wait 3% · MFU 40% · 1.0 GB")
        said[terminal] = file.getvalue()
    assert said[False].splitlines() == [
        f"{step}/5 loss {step}.0 · 1.50 s/step · wait 3% · MFU 40% · 1.0 GB" for step in (2, 4)
    ]
    assert "4/5" in said[True]
    assert "loss 4.0 · 1.50 s/step · wait 3% · MFU 40% · 1.0 GB" in said[True]


def test_wandb_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="wandb, which is not installed: pip install wandb, or leave it out"):
        RunLog(tmp_path, load_config(TINY, ["log.to=[wandb]"]), 0, Console(quiet=True))


def test_runs_in_folders_of_one_name_are_two_runs_to_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in wandb's place: it takes part in no test run."""
    opened: list[dict[str, Any]] = []

    class Opened:
        def log(self, values: dict[str, float], step: int) -> None:
            opened[-1]["logged"] = (values, step)

        def finish(self) -> None:
            opened[-1]["finished"] = True

    def init(**words: Any) -> Opened:
        opened.append(words)
        return Opened()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    config = load_config(TINY, ["log.to=[wandb]"])
    for folder in ("a/run", "b/run", "a/run"):
        run = tmp_path / folder
        run.mkdir(parents=True, exist_ok=True)
        with RunLog(run, config, 0, Console(quiet=True)) as log:
            log.write(3, {"loss": 1.0})
        assert opened[-1]["logged"] == ({"loss": 1.0}, 3)
        assert opened[-1]["finished"]
    first, second, again = (words["id"] for words in opened)
    assert first == again != second
