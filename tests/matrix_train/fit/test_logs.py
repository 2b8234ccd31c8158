"""What a run says, and to whom."""

import io
import json
import re
import sys
import types
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from rich.text import Text

from matrix_train.config import load_config
from matrix_train.errors import UserError
from matrix_train.fit.logs import RunLog, check_loggers
from matrix_train.fit.meter import Meter
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


def test_eighty_columns_have_room_for_all_that_must_be_seen(tmp_path: Path) -> None:
    config = load_config(TINY, ["log.to=[]", "train.steps=4000"])
    file = io.StringIO()
    logs = {"loss": 0.28731, "seconds_per_step": 13.12, "data_wait": 0.03, "mfu": 0.44, "peak_gb": 61.23}
    with RunLog(tmp_path, config, 3990, Console(file=file, force_terminal=True, width=80)) as log:
        log.advance(3999, Meter.line(cast(Meter, None), logs, log.wide))
    said = Text.from_ansi(file.getvalue()).plain
    assert "3999/4000 loss 0.2873 · 13.12 s/step · wait 3% · MFU 44% · 61.2 GB" in said
    assert re.search(r"GB +(--:--|\d+:\d\d)", said)


def test_what_is_not_finite_is_null_in_json(tmp_path: Path) -> None:
    config = load_config(TINY, ["log.to=[]"])
    with RunLog(tmp_path, config, 0, Console(quiet=True)) as log:
        log.write(1, {"loss": float("nan"), "norm": float("inf"), "lr": 0.1})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": None, "norm": None, "lr": 0.1}


def test_a_log_knows_what_was_validated_before_the_step_it_goes_on_from(tmp_path: Path) -> None:
    config = load_config(TINY, ["log.to=[]"])
    with RunLog(tmp_path, config, 0, Console(quiet=True)) as log:
        assert not log.validations and log.last == ({}, {})
        for step, values in ((0, {"val.iou": 0.1}), (1, {"loss": 3.0}), (2, {"loss": 2.0}), (2, {"val.iou": 0.5})):
            log.write(step, values)
    with RunLog(tmp_path, config, 1, Console(quiet=True)) as log:
        assert log.has_validated(0) and not log.has_validated(2) and log.last == ({"loss": 3.0}, {"val.iou": 0.1})
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_wandb_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_loggers(load_config(TINY, ["log.to=[tensorboard]"]).log)
    with pytest.raises(UserError, match="wandb, which is not installed: pip install wandb, or leave it out"):
        check_loggers(load_config(TINY, ["log.to=[wandb]"]).log)


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
