"""Work that is stopped by Ctrl-C between any two files, and the same command again: all as without a stop."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from matrix_train.cli import app as cli

EVERYWHERE = [pytest.mark.production, pytest.mark.long]


@pytest.mark.parametrize(
    ("command", "places"),
    [
        ("table", [2]), ("dataset", [4]), ("analyze", [2]),
        *(pytest.param(name, range(count), marks=EVERYWHERE) for name, count in
          (("table", 4), ("dataset", 8), ("analyze", 6))),
    ],
)  # fmt: skip
def test_a_stopped_command_goes_on_to_the_same_files(
    command: str,
    places: list[int],
    sampled_run: Path,
    pictures: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = [{"image": "i.png", "idmap": "m.png", "prompt": "A man lifts a box.", "seed": seed} for seed in (0, 1)]
    (pictures / "stopped.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    words: list[Any] = {
        "table": ["sample", sampled_run, "--table", pictures / "stopped.jsonl", "--steps", 1],
        "dataset": ["sample", sampled_run, "--dataset", dataset, "--limit", 2, "--steps", 1],
        "analyze": ["analyze", sampled_run, "--clips", 2, "--steps", 1],
    }[command]
    run(words, tmp_path / "plain")
    plain = files(tmp_path / "plain")
    assert max(places) < len(plain), "every place is a file"
    for place in places:
        out = tmp_path / f"stopped{place}"
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", stop_at(place, Path.replace))
            assert run(words, out) == 130, place
        assert not list(out.rglob(".*")), "no scratch file stays"
        run(words, out)
        assert files(out) == plain, place


def stop_at(place: int, replace: Callable[[Path, Any], Path]) -> Callable[[Path, Any], Path]:
    """Ctrl-C in the moment in which the file of this place is written and not yet there."""
    count = iter(range(1000))

    def stopped(self: Path, target: Any) -> Path:
        if next(count) == place:
            raise KeyboardInterrupt
        return replace(self, target)

    return stopped


def run(words: list[Any], out: Path) -> int:
    return CliRunner().invoke(cli.app, [*map(str, words), "--out", str(out)]).exit_code


def files(out: Path) -> dict[str, bytes]:
    """By their names, without the folder's own name, which records say."""
    found = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes().replace(str(out).encode(), b"OUT") for path in found}
