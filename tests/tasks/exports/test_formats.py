"""COCO-video and SA-V, read by the rules of those who read them: pycocotools, YouTube-VIS's API, SA-V's reader."""

import io
import json
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from tasks.exports.coco import Coco
from tasks.exports.running import export
from tasks.exports.sav import Sav
from tasks.media.clips import read_frames
from tasks.store.folder import Folder

# pycocotools 2.0.11 copies in a way that numpy 2 wants written otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


@pytest.fixture(scope="module")
def coco(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    assert export(data, Coco(Folder(str(folder))))["clips"] == 6
    return folder


def test_coco_video(coco, items):
    """As `ytvos.py` indexes and decodes it: by ids, an RLE or None a frame, `length` file names a video."""
    seen = set()
    for split in ("train", "val"):
        found = json.loads((coco / f"{split}.json").read_text())
        categories = {c["id"]: c["name"] for c in found["categories"]}
        by_video = defaultdict(list)
        for a in found["annotations"]:
            by_video[a["video_id"]].append(a)
        assert [a["id"] for a in found["annotations"]] == list(range(1, len(found["annotations"]) + 1))
        for video in found["videos"]:
            item = items[video["clip"]]
            seen.add(video["clip"])
            assert len(video["file_names"]) == video["length"] == item.row.frames
            tracks = by_video.pop(video["id"])
            assert [(t["instance"], categories[t["category_id"]]) for t in tracks] == [
                (i.id, i.cls) for i in item.sample.instances
            ]
            for track in tracks:
                for frame, (mask, true) in enumerate(
                    zip(track["segmentations"], item.masks(track["instance"]), strict=True)
                ):
                    if mask is None:
                        assert not true.any() and track["bboxes"][frame] is None and track["areas"][frame] is None
                        continue
                    assert np.array_equal(rle.decode(mask).astype(bool), true)
                    assert track["areas"][frame] == true.sum()
                    x, y, w, h = track["bboxes"][frame]
                    ys, xs = np.nonzero(true)
                    assert (x, y, x + w, y + h) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            picture = cv2.imread(str(coco / split / "JPEGImages" / video["file_names"][2]))[:, :, ::-1]
            frame = read_frames(io.BytesIO(item.mp4))[2]
            assert np.abs(picture.astype(int) - frame).mean() < 3
        assert not by_video, "every annotation has its video"
    assert seen == set(items)
    assert any(None in a["segmentations"] for a in json.loads((coco / "train.json").read_text())["annotations"])


def test_sav(data, items, tmp_path):
    """As `SAVDataset(folder, annot_sample_rate=1)` and SAM 2's trainer read it: every entry is an RLE that decodes."""
    export(data, Sav(Folder(str(tmp_path))))
    listed = {s: (tmp_path / f"sav_{s}.txt").read_text().split() for s in ("train", "val")}
    assert sorted(listed["train"] + listed["val"]) == sorted(items)
    for split, keys in listed.items():
        for key in keys:
            item = items[key]
            found = json.loads((tmp_path / f"sav_{split}/{key}_manual.json").read_text())
            assert (tmp_path / f"sav_{split}/{key}.mp4").read_bytes() == item.files["mp4"]
            assert found["video_id"] == key and found["masklet_num"] == len(found["masklet_id"]) == item.row.instances
            assert len(found["masklet"]) == item.row.frames and len({len(f) for f in found["masklet"]}) == 1
            for k, number in enumerate(found["masklet_id"]):
                masks = np.stack([rle.decode(frame[k]) for frame in found["masklet"]]).astype(bool)
                assert np.array_equal(masks, np.stack(list(item.masks(f"id{number}"))))
                areas = masks.sum((1, 2))
                assert found["masklet_size_abs"][k] == pytest.approx(areas[areas > 0].mean())
                hidden = not areas.all()
                assert found["masklet_visibility_changes"][k] == 2 * hidden, "the last thing is gone in one frame"
