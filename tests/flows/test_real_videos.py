"""The four real clips of `shared/videos`, with the local profile: all accounted for, and one through on target."""

import json
from pathlib import Path

import pytest

from flows.opened import context_of
from schemas import Box, Captioned, Curated, Tracked
from tasks.media.clips import decode_mask
from tasks.world.score.truth_masks import bounding_box

VIDEOS = Path(__file__).parents[3] / "shared" / "videos"

WORDS = {"woman": "woman", "dog": "dog", "girl": "girl", "boy": "boy", "blue mug": "mug", "silver kettle": "kettle"}
"""Boxes whose name means the only instance of a class in its caption, and that class."""


def overlaps(build, clip_id):
    """Best-known boxes of a clip: for each boxed class with an accepted track, the IoU at every boxed frame shown."""
    case = build.find(clip_id).reached(clip_id)
    clip, tracked = case.clip, case.of(Tracked)
    boxes = json.loads((VIDEOS / "boxes.json").read_text())[Path(clip.source.uris[0]).name]["frames"]
    alive = {i.cls: i.id for i in case.of(Captioned).instances if i.id in case.of(Curated).ids}
    masks = {t.id: t.masks for t in tracked.tracks}
    found = {}
    for raw_frame, named in boxes.items():
        shown = clip.window.source_frames
        at = min(range(len(shown)), key=lambda i: abs(shown[i] - int(raw_frame)))
        if abs(shown[at] - int(raw_frame)) > 2:
            continue
        for name, (x0, y0, x1, y1) in named.items():
            who = alive.get(WORDS.get(name, ""))
            if who is None:
                continue
            g = clip.geometry
            ends = [x0 * g.scale - g.offset_x, x1 * g.scale - g.offset_x]
            rows = [y0 * g.scale - g.offset_y, y1 * g.scale - g.offset_y]
            left, right = (min(max(x, 0), clip.width) for x in ends)
            top, bottom = (min(max(y, 0), clip.height) for y in rows)
            seen = bounding_box(decode_mask(masks[who][at], tracked.height, tracked.width))
            iou = 0.0 if seen is None else seen.iou(Box(x0=left, y0=top, x1=right, y1=bottom))
            found.setdefault(who, []).append(iou)
    return found, case


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_clips_are_accounted_for_and_one_comes_through_on_target(matrix_data, tmp_path):
    if not VIDEOS.is_dir():
        pytest.skip(f"the real clips are not here: {VIDEOS.name} is missing beside the repository")
    out = tmp_path / "out"
    ended = matrix_data("build", VIDEOS, "--captions", VIDEOS / "captions.jsonl", "--out", out, "--json")
    assert ended.code == 0, ended.errors
    assert ended.json["funnel"]["scan"]["in"] == 4
    for stage in ended.json["funnel"].values():
        assert stage["in"] == stage["accepted"] + sum(stage["rejected"].values())
        assert stage["pending"] == 0

    build = context_of(str(out))
    on_target = []
    for clip_id in build.store("curate").accepted():
        ious, case = overlaps(build, clip_id)
        print(Path(case.clip.source.uris[0]).name, {k: [round(v, 2) for v in vs] for k, vs in ious.items()})
        for act in case.of(Captioned).interactions:
            if act.text in case.of(Curated).interactions and {act.subject, act.object} <= set(ious):
                on_target.append(min(*ious[act.subject], *ious[act.object]) >= 0.5)
    assert any(on_target), "no interaction kept both its tracks on target"
