"""The authors' layout: names as their trainer builds them, and there and back with equal masks and IDs."""

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas import Sample
from schemas.idmap import id_map
from tasks.dataset.check import verify
from tasks.dataset.reader import stream
from tasks.errors import UserError
from tasks.exports.making import make_dataset
from tasks.exports.matrix import Matrix
from tasks.exports.matrix_import import fingerprints_of, read_entry, read_metadata
from tasks.exports.running import export
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tests.builders import encode_mp4


@pytest.fixture(scope="module")
def exported(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("matrix")
    assert export(data, Matrix(Folder(str(folder))))["clips"] == 6
    return folder


def taken(source: Path, dest: Path, val_share: float = 0.4):
    """What an import says, and the dataset."""
    folder, out = Folder(str(source)), Folder(str(dest))
    told = read_metadata(folder)
    prints = fingerprints_of(folder, told)
    settings = ShardSettings(val_share=val_share)
    return make_dataset(out, {}, told, lambda one: read_entry(folder, one, prints), settings, prints), out


def test_their_trainer_finds_everything(exported, items):
    """As `MATRIXDataset.__getitem__` builds its paths: `<idK>` folders up to id5, files in order, RGB by Pillow."""
    by_digest = {item.row.media_digest: item for item in items.values()}
    rows = list(csv.DictReader((exported / "metadata.csv").read_text().splitlines()))
    assert [row["video"] for row in rows] == [f"{n:06d}.mp4" for n in range(1, 7)]
    for row in rows:
        stem = row["video"].replace(".mp4", "")
        sample = Sample.model_validate_json((exported / f"samples/{stem}.json").read_bytes())
        item = by_digest[sample.provenance.media_digest]
        assert (exported / "videos" / row["video"]).read_bytes() == item.files["mp4"]
        folder = exported / "mask_annotation" / stem
        assert {p.name for p in folder.iterdir()} == {"merged", *(f"<{i}>" for i in item.row.ids)}
        for name in item.row.ids:
            files = sorted(p.name for p in (folder / f"<{name}>").iterdir())
            assert files == [f"{t:03d}.png" for t in range(5)]
            for file, mask in zip(files, item.masks(name), strict=True):
                rgb = np.asarray(Image.open(folder / f"<{name}>" / file).convert("RGB"))
                assert np.array_equal(rgb, np.repeat(mask[..., None] * np.uint8(255), 3, 2))
            assert row["prompt"].count(f"<{name}>") == 1
        assert (folder / "merged/000.png").read_bytes() == item.files["idmap.png"]
        last = id_map({n: list(item.masks(n))[4] for n in item.row.ids}, 64, 96)
        assert np.array_equal(np.asarray(Image.open(folder / "merged/004.png")), last)
    assert any(row["prompt"].startswith("A <id1> red man pushes a <id2> blue ball. Näher") for row in rows)


def test_there_and_back(exported, items, tmp_path):
    found, folder = taken(exported, tmp_path / "back")
    assert found["samples"] == 6 and not found["left_out"] and verify(folder) == []
    for back in stream(folder):
        item = items[back.sample.clip_id]
        assert back.sample == item.sample and back.tracks == item.tracks and back.mp4 == item.files["mp4"]
    assert not (tmp_path / "back/.making").exists()


def test_what_samples_say_is_held_against_video_and_prompt(exported, tmp_path):
    source = Path(shutil.copytree(exported, tmp_path / "theirs"))

    def change(stem: str, mp4: bytes | None = None, **more: object) -> None:
        """The sample says it, and has the digest of that video."""
        file = source / f"samples/{stem}.json"
        said = json.loads(file.read_text()) | more
        if mp4 is not None:
            (source / f"videos/{stem}.mp4").write_bytes(mp4)
            said["provenance"]["media_digest"] = hashlib.sha256(mp4).hexdigest()
        file.write_text(json.dumps(said))

    change("000001", b"no video")
    change("000002", encode_mp4(np.zeros((7, 64, 96, 3), np.uint8)))
    change("000003", fps=16.0)
    hidden = json.loads((source / "samples/000004.json").read_text())["caption"] + "\u202e"
    change("000004", caption=hidden)
    rows = list(csv.DictReader((source / "metadata.csv").read_text().splitlines()))
    rows[3]["prompt"] += "\u202e"
    rows[4]["prompt"] = rows[4]["prompt"].replace("pushes", "kisses")
    with (source / "metadata.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("video", "prompt"), *((row["video"], row["prompt"]) for row in rows)])
    found, _ = taken(source, tmp_path / "made")
    assert found["samples"] == 1
    told = dict(line.split(": ", 1) for line in found["details"])
    assert told["000001.mp4"].startswith("undecodable: ")
    assert (
        told["000002.mp4"] == "changed_video: samples/ says 5 frames of 96 x 64 at 8, the video has 7 of 96 x 64 at 8"
    )
    assert (
        told["000003.mp4"] == "changed_video: samples/ says 5 frames of 96 x 64 at 16, the video has 5 of 96 x 64 at 8"
    )
    assert told["000004.mp4"].startswith("bad_prompt: the caption holds the control character U+202E")
    assert told["000005.mp4"].startswith("changed_prompt: ")


def test_a_sample_with_odd_fingerprints_is_no_sample(exported, tmp_path):
    source = Path(shutil.copytree(exported, tmp_path / "theirs"))
    for file in (source / "samples").iterdir():
        said = json.loads(file.read_text())
        said["provenance"]["fingerprints"] = ["made-up"]
        file.write_text(json.dumps(said))
    with pytest.raises(UserError, match="is a sample of this version"):
        taken(source, tmp_path / "made")


def test_ids_that_they_have_no_room_for_are_told(data, tmp_path):
    class Narrow(Matrix):
        last_id = 3

    found = export(data, Narrow(Folder(str(tmp_path))))
    assert found["clips"] == 4 and found["left_out"] == {"id_above_3": 2}
    assert len((tmp_path / "left_out.csv").read_text().splitlines()) == 3


def _foreign(root: Path, prompts: dict[str, str]) -> Path:
    """As somebody else would make it: two boxes that move, no samples/."""
    root.mkdir()
    with (root / "metadata.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("video", "prompt"), *prompts.items()])
    for n, name in enumerate(prompts):
        frames, stem = np.full((4, 32, 48, 3), 40 * n, np.uint8), name.removesuffix(".mp4")
        for k in (1, 2):
            folder = root / f"mask_annotation/{stem}/<id{k}>"
            folder.mkdir(parents=True)
            for t in range(4):
                mask = np.zeros((32, 48), np.uint8)
                mask[4 * k : 4 * k + 8, 6 * t : 6 * t + 9] = 255
                frames[t][mask > 0] = (200, 40, 40 * k)
                Image.fromarray(mask).save(folder / f"{t:03d}.png")
        (root / "videos").mkdir(exist_ok=True)
        (root / f"videos/{stem}.mp4").write_bytes(encode_mp4(frames, fps=16))
    return root


def test_the_layout_of_others(tmp_path):
    names = ["000001", "000002", "000003", "000004", "000005", "000006"]
    prompt = "a <id1> woman pushes a red <id2> cart."
    source = _foreign(tmp_path / "theirs", {f"{n}.mp4": prompt for n in names})
    rows = [("video", "prompt"), *((f"{n}.mp4", prompt) for n in names), ("../up.mp4", prompt), ("000009.mp4", prompt)]
    rows.append(("000001.mp4", prompt))
    rows[4] = (rows[4][0], "a <id1> woman and a <id2> cart.")
    with (source / "metadata.csv").open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    (source / "videos/000002.mp4").write_bytes(b"no video")
    (source / "mask_annotation/000003/<id2>/002.png").unlink()
    small = io.BytesIO()
    Image.new("L", (8, 8)).save(small, "PNG")
    (source / "mask_annotation/000005/<id1>/001.png").write_bytes(small.getvalue())
    found, folder = taken(source, tmp_path / "made", 0)
    assert found["samples"] == 2 and verify(folder) == []
    assert found["left_out"] == {
        "bad_masks": 2,
        "bad_name": 1,
        "double": 1,
        "no_interaction": 1,
        "no_video": 1,
        "undecodable": 1,
    }
    assert any(line.startswith("000003.mp4: bad_masks: id2 has 3 pictures") for line in found["details"])
    one = next(stream(folder))
    (act,) = one.sample.interactions
    assert (act.subject, act.verb, act.object) == ("id1", "pushes", "id2")
    assert one.sample.caption == "a woman pushes a red cart." and one.sample.fps == 16
    spans = (act.spans.subject, act.spans.verb, act.spans.object)
    assert [one.sample.caption[s[0].start : s[0].end] for s in spans] == ["woman", "pushes", "red cart"]
    assert json.loads(Folder(str(tmp_path / "made")).read("dataset.json"))["fingerprints"] == {"import": "matrix/1"}


def test_an_import_goes_on_where_it_was_killed(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.exports.making.BLOCK", 2)
    folder = Folder(str(exported))
    told = read_metadata(folder)
    prints, calls = fingerprints_of(folder, told), []

    def dying(one):
        calls.append(one)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return read_entry(folder, one, prints)

    with pytest.raises(KeyboardInterrupt):
        make_dataset(Folder(str(tmp_path / "cut")), {}, told, dying, ShardSettings(val_share=0.4), prints)
    assert not (tmp_path / "cut/dataset.json").exists()
    (tmp_path / f"cut/train-00001-{'0' * 16}.tar").write_bytes(b"of a block that was not on record")
    assert taken(exported, tmp_path / "cut")[0]["samples"] == 6
    taken(exported, tmp_path / "whole")
    assert {p.name: p.read_bytes() for p in (tmp_path / "cut").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()
    }
