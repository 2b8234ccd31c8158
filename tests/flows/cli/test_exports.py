"""`matrix_data export`, `import` and `rebuild` as they are typed; labels without pixels come back bit for bit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.opened import dataset_of, open_build
from flows.settings import BuildSettings
from schemas import Deduped, SourceVideo
from tasks.dataset.check import verify
from tasks.dataset.reader import stream
from tasks.errors import UserError
from tasks.ingest.stage import IngestSettings, ingest
from tasks.outcome import Case
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tests.builders import Sharding, make_case

CUT = IngestSettings(height=64, width=96, frames=5, fps=8, min_side=16, min_motion=0)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build's folder: two videos of two clips each that the real ingest has cut, with drawn labels."""
    root = tmp_path_factory.mktemp("built")
    (root / "raw").mkdir()
    work, cases = Folder(str(root / "out/work")), []
    for seed in (0, 1):
        drawn = make_case(work, seed, frames=10, height=64, width=96)
        video = root / f"raw/{seed}.mp4"
        video.write_bytes(work.read(drawn.clip.path))
        digest = drawn.clip.source.digest
        source = SourceVideo(
            source_id=digest[:16], uris=(str(video),), digest=digest, size_bytes=video.stat().st_size, caption=None,
            dataset="mine", license=None if seed else "CC0",
        )  # fmt: skip
        (row,) = ingest([source], work, "clips/x", CUT)
        assert row.payload and len(row.payload.clips) == 2
        labels = make_case(work, seed, things=1 + seed, frames=5, height=64, width=96)
        for clip in row.payload.clips:
            kin = Deduped(clip=clip, group=source.source_id, nearest=None, distance=None)
            cases.append(Case(clip, labels.plus(kin).results))
    context = open_build(BuildSettings(source=str(root / "raw"), out=str(root / "out"), ingest=CUT))
    Sharding(work, context.dataset, ShardSettings(val_share=0.5)).run(cases)
    return root


def finished(out: Path) -> Path:
    """The dataset; `Sharding` puts its rows beside it."""
    (whole,) = (path for path in (out / "dataset").iterdir() if not path.name.endswith("-rows"))
    return whole


def run(*words: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    if done.exception:
        raise done.exception
    return json.loads(done.stdout.splitlines()[-1])


def test_labels_without_pixels_come_back_bit_for_bit(built, tmp_path):
    out = built / "out"
    found = run("export", out, "--format", "labels", "--out", tmp_path / "labels")
    assert found["clips"] == 4
    mine = tmp_path / "mine/deep"
    mine.mkdir(parents=True)
    (mine / "other.mp4").write_bytes(b"\0" * 100)
    for n, video in enumerate((built / "raw").iterdir()):
        (mine / f"renamed-{n}.mp4").write_bytes(video.read_bytes())
    back = run("rebuild", tmp_path / "labels", "--videos", tmp_path / "mine", "--out", tmp_path / "back")
    assert back["samples"] == 4 and back["left_out"] == {}
    assert verify(Folder(str(tmp_path / "back"))) == []
    whole = finished(out)
    theirs, ours = ({one.sample.clip_id: one for one in stream(Folder(str(f)))} for f in (whole, tmp_path / "back"))
    assert theirs == ours, "every label and every byte of every clip"
    assert not any(b"ftyp" in file.read_bytes() for file in (tmp_path / "labels").rglob("*") if file.is_file())


def test_a_video_that_is_missing_or_cut_otherwise_is_told(built, tmp_path):
    run("export", built / "out", "--format", "labels", "--out", tmp_path / "labels")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/0.mp4").write_bytes((built / "raw/0.mp4").read_bytes())
    labels = tmp_path / "labels/manifest.json"
    found = run("rebuild", tmp_path / "labels", "--videos", tmp_path / "mine", "--out", tmp_path / "half")
    assert found["samples"] == 2 and found["left_out"] == {"no_video": 2}
    labels.write_text(labels.read_text().replace('"crf": 18', '"crf": 30'))
    with pytest.raises(UserError, match=r"nothing could be taken: (other_bytes|no_video): "):
        run("rebuild", tmp_path / "labels", "--videos", tmp_path / "mine", "--out", tmp_path / "none")
    (tmp_path / "labels/labels/00000.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="damaged: its SHA-256"):
        run("rebuild", tmp_path / "labels", "--videos", tmp_path / "mine", "--out", tmp_path / "none")
    whole = finished(built / "out")
    whole.rename(tmp_path / "moved")
    try:
        with pytest.raises(UserError, match="give the --out of the build"):
            run("export", tmp_path / "moved", "--format", "labels", "--out", tmp_path / "more")
    finally:
        (tmp_path / "moved").rename(whole)


def test_there_and_back_as_typed(built, tmp_path):
    matrix, back = tmp_path / "matrix", tmp_path / "back"
    found = run("export", built / "out", "--format", "matrix", "--out", matrix, "--filter", "ids=3", "--limit", 1)
    assert (found["clips"], found["filter"], found["limit"]) == (1, "ids=3", 1)
    assert run("import", matrix, "--format", "matrix", "--out", back)["samples"] == 1
    assert verify(Folder(str(back))) == []
    with pytest.raises(UserError, match="holds a dataset"):
        run("import", matrix, "--out", back)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("export", "{out}", "--format", "zip", "--out", "{new}"), "choose matrix"),
        (("export", "{raw}", "--format", "csv", "--out", "{new}"), "give a finished dataset"),
        (("export", "{out}", "--format", "csv", "--out", "{new}", "--filter", "verb"), "write FIELD=VALUE"),
        (("export", "{out}", "--format", "csv", "--out", "{new}", "--audit", "{raw}"), "--format hf"),
        (("export", "{out}", "--format", "hf", "--out", "{new}", "--audit", "{raw}"), "no figures.json"),
        (("import", "{raw}", "--out", "{new}"), "no metadata.csv"),
        (("import", "{raw}", "--format", "coco", "--out", "{new}"), "only matrix"),
        (("rebuild", "{raw}", "--videos", "{raw}", "--out", "{new}"), "no manifest.json"),
    ],
)
def test_mistakes_are_one_line(built, tmp_path, words, told):
    places = {"out": built / "out", "raw": built / "raw", "new": tmp_path / "new"}
    with pytest.raises(UserError, match=told) as error:
        run(*(word.format(**places) for word in words))
    assert "\n" not in str(error.value) and not (tmp_path / "new").exists()


def test_an_out_folder_stands_for_its_last_dataset_and_never_for_an_earlier_one(built, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(built / "out", out)
    before = dataset_of(str(out))
    assert Path(before.root).parent == out / "dataset" and dataset_of(before.uri).root == before.root
    open_build(BuildSettings(source=str(built / "raw"), out=str(out)))  # other settings, nothing built yet
    with pytest.raises(UserError, match=f"name one of earlier settings: .*{before.uri.rpartition('/')[2]}"):
        dataset_of(str(out))
