"""The words of the demo: its hints can be typed as they stand, and the fit is heard while it works."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flows.cli.demo import _run, typed
from tasks.errors import UserError


@pytest.fixture
def venv(tmp_path, monkeypatch) -> Path:
    """A virtual environment in the folder that one is in, which is not on the PATH."""
    programs = tmp_path / "my env" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "matrix_train"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    return programs


def test_a_hint_names_the_folder_of_a_program_that_the_shell_would_not_find(venv, monkeypatch, tmp_path):
    assert typed("matrix_train inspect a") == "'my env/bin/matrix_train' inspect a"
    assert typed("tensorboard --logdir a") == "tensorboard --logdir a", "which is elsewhere, or nowhere"
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    assert typed("matrix_train inspect a") == f"'{venv}/matrix_train' inspect a"
    monkeypatch.setenv("PATH", str(venv))
    assert typed("matrix_train inspect a") == "matrix_train inspect a"


def test_the_fit_is_heard_and_its_last_words_are_why_it_failed():
    heard = io.StringIO()
    says = "import sys; print('5/60 [loss] 9.4', file=sys.stderr); print('{}')"
    assert _run([sys.executable, "-c", says], Console(file=heard)) == "{}\n"
    assert heard.getvalue() == "  5/60 [loss] 9.4\n"
    with pytest.raises(UserError, match=r"the tiny fit failed: no \\x1b room"):
        _run([sys.executable, "-c", "raise SystemExit('no \\x1b room')"], Console(file=heard))
