"""The demo: rendered once, whole or not at all; its hints can be typed, and the fit is heard while it works."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flows.cli import demo
from flows.cli.demo import _run, render_once, typed
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


def test_a_world_is_rendered_once_and_what_was_cut_off_is_begun_again(tmp_path, monkeypatch):
    world, said = tmp_path / "demo" / "world", io.StringIO()

    def cut_off(out, **_):
        (out / "raw").mkdir(parents=True)
        (out / "raw" / "half.mp4").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(demo, "render_bucket", cut_off)
        render_once(world, 1, Console(file=said))
    assert not world.exists()
    render_once(world, 1, Console(file=said))
    made = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    assert world / "captions.csv" in made and world / "raw" / "half.mp4" not in made
    assert [path.name for path in world.parent.iterdir()] == ["world"]
    render_once(world, 1, Console(file=said))
    assert {path: path.stat().st_mtime_ns for path in world.rglob("*")} == made
    assert "rendered already" in said.getvalue()
    with pytest.raises(UserError, match="holds another demo: give another folder"):
        render_once(world, 2, Console(file=said))
    (world / "demo.json").unlink()
    with pytest.raises(UserError, match="is there, and of no demo"):
        render_once(world, 1, Console(file=said))
