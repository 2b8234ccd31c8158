"""Scenes as a dataset of ours, and as prompts with truth.

F/dataset/                       shards as `matrix_data build` writes them, from true masks and captions
F/asked/videos/NAME.mp4          what should be seen, F/asked/truth/NAME.mp4.json its truth, F/asked/NAME.png frame 0
F/asked/asked.json               by name: the kind of doubt, and the pairs of IDs that are right and wrong
"""

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.miniature.scenes import Asked, Film, asked, scenes
from benchmarks.miniature.sizes import ASKED_SEED, TRAIN_SEED, Size
from schemas import MaskRle, MediaFacts, Sample, TrackFile
from schemas.clip import Geometry, Window
from schemas.interaction import Instance, Interaction, Rating
from schemas.sample import Provenance
from schemas.truth import VideoTruth
from tasks.exports.making import make_dataset
from tasks.ingest.stage import name_clip
from tasks.media.clips import EncodeSettings, encode_clip
from tasks.shard.entry import Entry, entry_of
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tasks.world.film import film, no_masks
from tasks.world.words import KIND

FINE = EncodeSettings(crf=10)
"""Small pictures show what a coarser code does to them."""


def render_dataset(folder: Path, size: Size) -> None:
    """Resumable; nothing is done where it is there."""
    if (folder / "dataset.json").exists():
        return
    told = [(number, turn) for number in range(size.pictures) for turn in (0, 1)]
    prints = {"render": "miniature/1"}
    plan = {"seed": TRAIN_SEED, "pictures": size.pictures, "film": vars(size.film)}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        rendered = [pool.submit(_training_entry, *one, size.film, prints) for one in told]
        make_dataset(
            Folder(str(folder)), plan, rendered, lambda one: one.result(), ShardSettings(val_share=0.05), prints
        )


def _training_entry(number: int, turn: int, film: Film, fingerprints: dict[str, str]) -> Entry:
    return entry(asked(TRAIN_SEED, number, turn, film), fingerprints)


def render_asked(folder: Path, size: Size) -> None:
    if (folder / "asked.json").exists():
        return
    for name in ("videos", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    table = {}
    for one in scenes(ASKED_SEED, size.asked, size.film):
        pictures, truth, mp4 = shown(one)
        (folder / "videos" / truth.video).write_bytes(mp4)
        (folder / "truth" / f"{truth.video}.json").write_text(truth.model_dump_json(), encoding="utf-8")
        Image.fromarray(pictures[0]).save(folder / f"{one.name}.png")
        table[one.name] = {"kind": one.kind, "right": one.right, "wrong": one.wrong}
    (folder / "asked.json").write_text(json.dumps(table, indent=1), encoding="utf-8")


def shown(one: Asked) -> tuple[NDArray[np.uint8], VideoTruth, bytes]:
    """Frames RGB uint8 [T, H, W, 3], truth and mp4 of a scene."""
    masks = no_masks(one.scene)
    pictures = np.stack([picture for picture, _ in film(one.scene, masks)])
    truth = one.scene.truth(f"{one.name}.mp4", masks)
    return pictures, truth, encode_clip(list(pictures), Fraction(one.scene.rate), FINE)


def entry(one: Asked, fingerprints: dict[str, str]) -> Entry:
    """A shard entry of a scene. All who are drawn are instances and in the ID map, not only those whom the caption
    names, as in a build: else the map alone would say who does it."""
    _, truth, mp4 = shown(one)
    digest = hashlib.sha256(mp4).hexdigest()
    seconds = truth.frames / truth.fps
    window = Window(scene=0, index=0, source_frames=tuple(range(truth.frames)), start_s=0, end_s=seconds)
    size = (truth.height, truth.width)
    cls = {i.id: i.cls for i in truth.instances}
    acts = tuple(
        Interaction(
            subject=t.subject, verb=t.verb, object=t.object, text=f"<{t.subject}> {t.verb} <{t.object}>",
            type="functional action based interaction" if KIND[cls[t.object]] == "thing"
            else "multi subject relation",
            source_sentence=truth.caption or "", spans=t.spans,
            rating=Rating(contact=t.contact, dynamism=t.dynamism, explanation="truth", confidence=1),
        )
        for t in truth.triplets
    )  # fmt: skip
    sample = Sample(
        clip_id=name_clip(digest, window), caption=truth.caption or "", width=truth.width, height=truth.height,
        frames=truth.frames, fps=truth.fps, interactions=acts,
        instances=tuple(Instance(id=i.id, cls=i.cls, noun=i.phrase, app="", spatial="") for i in truth.instances),
        provenance=Provenance(
            uris=(f"world:{one.name}",), dataset="miniature", source_digest=digest, media_digest=digest,
            # Both turns of a picture are on one side of the split.
            group=hashlib.sha256(one.name.rpartition("-")[0].encode()).hexdigest()[:16],
            facts=MediaFacts(
                container="mp4", codec="h264", pixel_format="yuv420p", width=truth.width, height=truth.height,
                rotation=0, fps=truth.fps, duration_s=seconds, frames=truth.frames, has_audio=False,
            ),
            window=window, caption_by="world", prompts="none", models=("truth",),
            geometry=Geometry(
                source_width=truth.width, source_height=truth.height, scale=1, offset_x=0, offset_y=0
            ),
            fingerprints=tuple(f"{stage}={value}" for stage, value in fingerprints.items()),
        ),
    )  # fmt: skip
    tracks = {
        i.id: tuple(None if m is None else MaskRle(size=size, counts=m) for m in i.masks) for i in truth.instances
    }
    made = entry_of(sample, TrackFile(size=size, tracks=tracks))
    return Entry(sample, {"mp4": mp4, **made.files})
