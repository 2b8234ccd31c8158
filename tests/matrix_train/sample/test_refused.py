"""What a command would spoil or cannot use is refused in one line, and nothing on the disk has changed."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from matrix_train.cli import app as cli
from matrix_train.errors import UserError

FORMS = {
    "job": "sample {run} --image {pictures}/i.png --idmap {pictures}/m.png --prompt Rain --steps 1 --out {out}/v.mp4",
    "table": "sample {run} --table {pictures}/refused.jsonl --steps 1 --out {out}",
    "dataset": "sample {run} --dataset {dataset} --limit 1 --out {out}",
    "analyze": "analyze {run} --clips 1 --steps 1 --out {out}",
    "idmap": "idmap {pictures}/i.png --box id1=6,16,40,54 --out {out}/v.png",
}


@pytest.mark.parametrize(
    ("form", "there", "said"),
    [
        ("job", {"out/v.json": "{}"}, r"v\.json is no record of a video, and would be overwritten: give another --out"),
        ("job", {"out/v.mp4/x": ""}, r"v\.mp4: is a folder: give the name of a file"),
        ("idmap", {"out/v.png/x": ""}, r"v\.png: is a folder: give the name of a file"),
        ("analyze", {"out/report.html": "mine"}, r"out has report\.html, which no analysis of this folder wrote: give"),
        ("analyze", {"out/analysis.json": "[1]"}, r"analysis\.json is damaged: give another --out"),
        ("analyze", {"out/analysis.json": '{"sch'}, r"analysis\.json is damaged: give another --out"),
        *((form, {"out": "a file"}, "out: Not a directory: give another place") for form in FORMS),
    ],
)
def test_what_is_there_stays(
    form: str, there: dict[str, str], said: str, sampled_run: Path, pictures: Path, dataset: Path, tmp_path: Path
) -> None:
    for name, text in there.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    refused(form, said, tmp_path, run=sampled_run, pictures=pictures, dataset=dataset)


@pytest.mark.parametrize("form", ["job", "table", "dataset", "analyze"])
def test_weights_of_another_backbone(
    form: str, sampled_run: Path, other_run: Path, pictures: Path, dataset: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(sampled_run, mixed)
    shutil.copy(other_run / "config.yaml", mixed)
    (pictures / "refused.jsonl").write_text('{"image": "i.png", "idmap": "m.png", "prompt": "A man."}')
    refused(
        form, "trained on another base model.* give its own", tmp_path, run=mixed, pictures=pictures, dataset=dataset
    )


def refused(form: str, said: str, folder: Path, **named: Path) -> None:
    before = tree(folder)
    words = FORMS[form].format(out=folder / "out", **named).split()
    with pytest.raises(UserError, match=said) as error:
        CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert "\n" not in str(error.value)
    assert tree(folder) == before


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}
