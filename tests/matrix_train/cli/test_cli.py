"""The commands as people type them: what they print, and mistakes in one line."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from matrix_train.cli import app as cli
from matrix_train.cli.commands import smaller, told_when_full
from matrix_train.config import load_config
from matrix_train.errors import UserError
from tests.matrix_train.fitting import TINY, sets, settings, small_config


def run(*words: str) -> dict[str, object]:
    result = CliRunner().invoke(cli.app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_from_shards_to_an_exported_lora(dataset: Path, tmp_path: Path) -> None:
    words = sets(settings(dataset, tmp_path / "run", "train.steps=2"))
    small_config(dataset, tmp_path / "run")
    looked = run("inspect", str(TINY), *words, "--out", str(tmp_path / "look"), "--batches", "1")
    assert len(looked["sheets"]) == 3, "of two clips, one of which has two interactions"  # type: ignore[arg-type]
    planned = run("fit", str(TINY), *words, "--dry-run")
    assert planned["step_flops"]
    assert not (tmp_path / "run").exists()
    fitted = run("fit", str(TINY), *words)
    assert fitted["step"] == 2
    exported = run("export", str(tmp_path / "run"), str(tmp_path / "lora"))
    assert exported["unmatched_keys"] == []
    with pytest.raises(UserError, match="moved: there is no such folder"):
        run(
            "export",
            str(tmp_path / "run"),
            str(tmp_path / "merged"),
            "--merged",
            "--base-path",
            str(tmp_path / "moved"),
        )
    merged = run("export", str(tmp_path / "run"), str(tmp_path / "merged"), "--merged")
    assert (tmp_path / "merged/transformer/config.json").exists(), merged


def test_a_full_gpu_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^CUDA out of memory: give less$"), told_when_full("give less"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total")


def test_the_advice_names_what_would_help_this_run() -> None:
    tiny = smaller(load_config(TINY, ["train.cache=x", "validation.videos=0"]))
    assert tiny.startswith("set model.precision=bf16, or model.checkpointing=selective, or a lower train.batch_size")
    assert "train.cache" not in tiny and "validation.videos" not in tiny
    recipe = smaller(load_config(TINY.parent / "cogvideox_5b_i2v.yaml", []))
    assert recipe.startswith(
        "set validation.videos=0, or model.checkpointing=full, or model.swap, the number of blocks"
    )
    assert "in the host's memory (with model.compile=false), or model.frozen=fp8" in recipe
    assert ", or train.parallel=fsdp on several GPUs" in recipe


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "nowhere.yaml"], "config nowhere.yaml: cannot be read"),
        (["fit", str(TINY), "--resume", "yes"], "--resume yes: give auto or never"),
        (["inspect", str(TINY), "--split", "test"], "--split test: give train or val"),
        (["bench", "--device", "tpu"], "bench: device"),
        (["bench", "--device", "cpu", "--rung", "9"], "there is no rung 9: give 1 to 8"),
        (["export", "nowhere", "out"], "nowhere"),
        (["export", "r", "out", "--base-path", "b"], "--base-path would change nothing: only --merged"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["matrix_train", *words])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 2
    text = " ".join(capsys.readouterr().err.split())
    assert said in text
    assert "Traceback" not in text
