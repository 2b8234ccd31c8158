"""COCO-video and SA-V, read by the rules of those who read them: pycocotools, YouTube-VIS's API, SA-V's reader."""

import hashlib
import io
import json
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tasks.exports.coco import Coco
from tasks.exports.running import export
from tasks.exports.sav import Sav
from tasks.media.clips import read_frames
from tasks.store.folder import Folder
from tasks.world.score.davis import j_and_f

# pycocotools 2.0.11 copies in a way that numpy 2 wants written otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


@pytest.fixture(scope="module")
def coco(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    assert export(data, Coco(Folder(str(folder))))["clips"] == 6
    return folder


def test_coco_video(coco, data, items):
    """As `ytvos.py` indexes and decodes it: by ids, an RLE or None a frame, `length` file names a video."""
    seen, index = set(), hashlib.sha256(data.folder.read("index.parquet")).hexdigest()
    for split in ("train", "val"):
        found = json.loads((coco / f"{split}.json").read_text())
        assert found["info"]["description"].endswith(f"sha256:{index}")
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


def test_pycocotools_scores_the_truth_as_perfect(coco):
    """YouTube-VIS reads and scores tracks as pycocotools does images (`ytvos.py` is made after its `coco.py`)."""
    found = json.loads((coco / "train.json").read_text())
    (length,) = {video["length"] for video in found["videos"]}
    frames = [
        {
            "image_id": a["video_id"] * length + t, "category_id": a["category_id"], "iscrowd": a["iscrowd"],
            "segmentation": a["segmentations"][t], "bbox": a["bboxes"][t], "area": a["areas"][t],
        }
        for a in found["annotations"] for t in range(length) if a["segmentations"][t]
    ]  # fmt: skip
    truth = COCO()
    truth.dataset = {
        "info": found["info"], "licenses": found["licenses"], "categories": found["categories"],
        "images": [
            {"id": v["id"] * length + t, "width": v["width"], "height": v["height"], "file_name": v["file_names"][t]}
            for v in found["videos"] for t in range(length)
        ],
        "annotations": [{"id": n, **frame} for n, frame in enumerate(frames, 1)],
    }  # fmt: skip
    truth.createIndex()
    assert set(truth.getImgIds()) >= {frame["image_id"] for frame in frames}
    scores = COCOeval(truth, truth.loadRes([{**frame, "score": 1.0} for frame in frames]), "segm")
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    assert scores.stats[0] == scores.stats[8] == pytest.approx(1.0)


def test_sav(data, items, tmp_path):
    """By the rules of those who read it, all in the repository facebookresearch/sam2.

    `SAVDataset` (sav_dataset/utils/sav_utils.py): `<id>.mp4` by OpenCV, `masklet[frame]` for each of its frames, every
    entry decodes. `JSONSegmentLoader` of the trainer (training/dataset/vos_segment_loader.py) with `ann_every: 1`: as
    many entries in each frame as in the first, decoded together, and no field `fps`, by which it would skip frames. The
    evaluator (sav_dataset/utils/sav_benchmark.py): each ID has the same frames, of the truth's shape, one thing a mask.
    """
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
            assert "fps" not in found and found["video_frame_count"] == item.row.frames
            video, shapes = cv2.VideoCapture(str(tmp_path / f"sav_{split}/{key}.mp4")), []
            while (frame := video.read())[0]:
                shapes.append(frame[1].shape[:2])
            assert shapes == [rle.decode(masks).shape[:2] for masks in found["masklet"]]
            for k, number in enumerate(found["masklet_id"]):
                masks = np.stack([rle.decode(frame[k]) for frame in found["masklet"]]).astype(bool)
                truth = np.stack(list(item.masks(f"id{number}")))
                assert np.array_equal(masks, truth)
                scored = [j_and_f(mask, true) for mask, true in zip(masks[1:-1], truth[1:-1], strict=True)]
                assert scored == [1.0] * len(scored), "as the evaluator, which passes over the first and the last"
                areas = masks.sum((1, 2))
                assert found["masklet_size_abs"][k] == pytest.approx(areas[areas > 0].mean())
                hidden = not areas.all()
                assert found["masklet_visibility_changes"][k] == 2 * hidden, "the last thing is gone in one frame"
