"""Scenes to frames with masks, in memory or into a file, and their truth on disk."""

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from schemas import Rle
from schemas.truth import Level, VideoTruth
from tasks.errors import UserError
from tasks.media.clips import encode_mask
from tasks.world.encode import Format, write_video
from tasks.world.scene import Scene
from tasks.world.staging import make_scene

Masks = dict[str, list[Rle | None]]
CONTACT_BAR, DYNAMISM_BAR = 3, 2
"""Default thresholds of the caption filter: a video all of whose triplets lie below ends as `filtered`."""


def expectation(truth: VideoTruth) -> str:
    """'accept', 'no_interaction' or 'filtered', from the triplets alone."""
    if not truth.triplets:
        return "no_interaction"
    kept = [t for t in truth.triplets if t.contact >= CONTACT_BAR and t.dynamism >= DYNAMISM_BAR]
    return "accept" if kept else "filtered"


def no_masks(scene: Scene) -> Masks:
    return {key: [] for key in scene.order}


def film(scene: Scene, masks: Masks, keep: Sequence[int] | None = None) -> Iterator[tuple[NDArray[np.uint8], Fraction]]:
    """Frames RGB uint8 [H, W, 3] with their times in seconds; fills `masks` on the way. `keep` drops all others."""
    chosen = set(range(scene.count) if keep is None else keep)
    last = max(chosen)
    for n, (picture, labels) in enumerate(scene.frames()):
        if n > last:
            return
        if n in chosen:
            columns = np.ascontiguousarray(labels.T)  # run lengths go down the columns
            for k, key in enumerate(scene.order):
                masks[key].append(encode_mask((columns == k + 1).T))
            yield picture, n / scene.rate


def render_scene(seed: int, level: Level = "plain") -> tuple[NDArray[np.uint8], VideoTruth]:
    """One video in memory: RGB uint8 [T, H, W, 3] as displayed, before any encoding, and its truth."""
    scene = make_scene(seed, level)
    masks = no_masks(scene)
    pictures = np.stack([picture for picture, _ in film(scene, masks)])
    truth = scene.truth(f"scene_{seed}.mp4", masks)
    return pictures, truth.model_copy(update={"expect": expectation(truth)})


def render_video(out: Path, name: str, seed: int, level: Level, form: Format) -> VideoTruth:
    """One good video below `out/raw`, and its truth record (not yet written). One in twenty states no interaction."""
    scene = make_scene(seed, level, silent=random.Random(f"silent:{seed}").random() < 0.05)
    masks = no_masks(scene)
    sound = 2.0 if form.muxer in ("mp4", "mov", "matroska") and seed % 5 == 0 else 0.0
    write_video(out / "raw" / name, film(scene, masks), scene.rate, form, sound)
    truth = scene.truth(name, masks)
    return truth.model_copy(update={"expect": expectation(truth)})


def save_truth(out: Path, truth: VideoTruth) -> None:
    (out / "truth" / f"{truth.video}.json").write_text(truth.model_dump_json(), encoding="utf-8")


def load_truth(out: Path) -> list[VideoTruth]:
    """Truth of every file of a bucket, by name. UserError where there is none, or a damaged one."""
    files = sorted((Path(out) / "truth").glob("*.json"))
    if not files:
        raise UserError(f"no truth below {out}: render a world with `python -m tasks.world --out {out}` first")
    return [_read_truth(f) for f in files]


def _read_truth(file: Path) -> VideoTruth:
    try:
        return VideoTruth.model_validate_json(file.read_bytes())
    except ValidationError:
        raise UserError(f"the truth {file} is damaged, or of another version: render the world again") from None
