"""A scripted reviewer who knows the truth, on tracks with planted faults: every decision is stored, and J&F rises."""

import numpy as np
import pytest

from flows.batches import run_batch
from flows.chunk import Chunk
from schemas import Tracked
from tasks.media.clips import decode_mask, encode_mask
from tasks.outcome import Case
from tasks.shard.entry import build_tracks
from tasks.world.score.davis import j_and_f
from tests.builders import draw
from tests.web.places import CHUNK, Place

FAULTS = ("none", "swap", "jitter", "hallucination")
SHAPE = {"things": 2, "frames": 9, "height": 96, "width": 144}


def truth(seed: int) -> dict[str, np.ndarray]:
    return {f"id{k}": np.stack(m) for k, m in enumerate(draw(seed, **SHAPE).masks, start=1)}


def plant(seed: int, case: Case) -> Case:
    """Of every four clips one is sound, and each fault is in one."""
    tracked, fault = case.of(Tracked), FAULTS[seed % 4]
    masks = {t.id: list(t.masks) for t in tracked.tracks}
    if fault == "swap":
        masks["id2"][5:], masks["id3"][5:] = masks["id3"][5:], masks["id2"][5:]
    elif fault == "jitter":
        masks["id1"][3] = encode_mask(np.roll(truth(seed)["id1"][3], 9, axis=1))
    elif fault == "hallucination":
        corner = np.zeros((96, 144), bool)
        corner[2:20, 120:140] = True
        masks["id3"] = [encode_mask(corner)] * 9
    tracks = tuple(t.model_copy(update={"masks": tuple(masks[t.id])}) for t in tracked.tracks)
    return case.plus(tracked.model_copy(update={"tracks": tracks}))


def judge(person, clip: str, real: dict[str, np.ndarray]) -> str:
    """Look at a clip as it is shown, mend or drop what is wrong, and finish; returns the fault that was seen."""
    person.claim(clip)
    seen = {t["id"]: [decode_mask(m, 96, 144) for m in t["masks"]] for t in person.see(clip)["tracks"]}
    wrong = {i: [t for t, m in enumerate(masks) if (m != real[i][t]).any()] for i, masks in seen.items()}
    ends, fault = dict.fromkeys(seen, ("accept", "")), "none"
    if wrong["id2"] and wrong["id3"]:
        fault = "swap"
        assert (
            person.patch(clip, {"op": "swap", "id": "id2", "other": "id3", "frame": wrong["id2"][0]}).status_code == 200
        )
        ends |= {"id2": ("fix", "swap"), "id3": ("fix", "swap")}
    elif len(wrong["id3"]) == 9:
        fault = "hallucination"
        ends["id3"] = ("drop", "hallucination")
    elif wrong["id1"]:
        fault = "jitter"
        for frame in wrong["id1"]:
            mask = encode_mask(real["id1"][frame])
            person.patch(clip, {"op": "paint", "id": "id1", "frame": frame, "masks": [mask]})
        ends["id1"] = ("fix", "jitter")
    for name, (decision, reason) in ends.items():
        person.patch(clip, {"op": "decide", "id": name, "decision": decision, "reason": reason})
    assert person.patch(clip, {"op": "finish"}).json()["finished"]
    return fault


def quality(case: Case, real: dict[str, np.ndarray]) -> list[float]:
    """J&F of every frame of every track that goes into the shard."""
    tracks = build_tracks(case).tracks
    return [
        j_and_f(decode_mask(rle and rle.counts, 96, 144), real[name][t])
        for name, masks in tracks.items()
        for t, rle in enumerate(masks)
    ]


def test_a_reviewer_who_knows_the_truth(tmp_path):
    place = Place(tmp_path, clips=8, plant=plant, **{k: v for k, v in SHAPE.items() if k != "frames"})
    seeds = {clip: seed for seed, clip in enumerate(place.cases)}
    reals = {clip: truth(seed) for clip, seed in seeds.items()}
    ann = place.person("ann")
    assert {c: judge(ann, c, reals[c]) for c in place.keys} == {c: FAULTS[s % 4] for c, s in seeds.items()}
    with place.context.lease("review", CHUNK):
        run_batch(Chunk(place.context, CHUNK), "review", place.keys)
    rows = {row.key: row.payload for row in place.context.store("review").read(place.keys)}
    for clip, payload in rows.items():
        said = {r.id: (r.decision, r.note) for r in payload.review}
        wanted = {
            "none": {}, "swap": {"id2": ("fix", "swap"), "id3": ("fix", "swap")}, "jitter": {"id1": ("fix", "jitter")},
            "hallucination": {"id3": None},
        }[FAULTS[seeds[clip] % 4]]  # fmt: skip
        assert said == {i: end for i in ("id1", "id2", "id3") if (end := wanted.get(i, ("accept", "")))}
    before = [f for c, case in place.cases.items() for f in quality(case, reals[c])]
    after = [f for c, case in place.cases.items() for f in quality(case.plus(rows[c]), reals[c])]
    assert np.mean(before) < 0.9 and np.mean(after) == pytest.approx(1.0)
    place.journal.close()
