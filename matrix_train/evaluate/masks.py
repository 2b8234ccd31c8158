"""The masks of a video's instances: from its tracks file, or made by the track engine from its first-frame ID map."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from matrix_train.evaluate.footage import Footage
from matrix_train.evaluate.protocol import Mask, Picture, Prompt, with_boxes
from matrix_train.sample.trackers import Trackers
from schemas.base import InstanceId
from schemas.idmap import decode_id_map
from schemas.palette import number
from schemas.rle import fill, run_lengths
from schemas.sample import TrackFile
from schemas.tracks import Rle

Followed = Mapping[InstanceId, tuple[Rle | None, ...]]
"""By ID, a mask or None for every frame."""


def follow(prompt: Prompt, folder: Path, footage: Footage, trackers: Trackers) -> Followed:
    """The tracks of a prompt's instances, and of others where its file has them. folder: of the prompts file.

    ValueError, or a UserError of the tracker, where they are not to be had, do not fit the video or lack an instance
    that the prompt names. Without a tracks file `footage` must be whole.
    """
    found = _read(folder / prompt.tracks, footage) if prompt.tracks else _made(prompt, folder, footage, trackers)
    if lost := sorted({i.id for i in prompt.instances} - found.keys(), key=number):
        raise ValueError(f"no track of {lost[0]}, which the prompt names")
    return found


def masks_at(tracks: Followed, frame: int, footage: Footage) -> dict[InstanceId, Mask]:
    """By ID, the masks [H, W] that are there in a frame."""
    height, width = footage.height, footage.width
    return {
        key: fill(run_lengths(rle, height, width), height, width)
        for key, rles in tracks.items()
        if (rle := rles[frame]) is not None
    }


def boxed(prompt: Prompt, footage: Footage, tracks: Followed, frame: int) -> Picture:
    """A frame with the boxes of the prompt's instances."""
    named = {i.id for i in prompt.instances}
    masks = masks_at({key: track for key, track in tracks.items() if key in named}, frame, footage)
    return with_boxes(footage.pictures[frame], masks)


def _read(path: Path, footage: Footage) -> Followed:
    try:
        file = TrackFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"there is no {path}") from None
    except ValidationError as error:
        raise ValueError(f"{path} is no tracks file (docs/shard_entry.md): {error.errors()[0]['msg']}") from None
    size = (footage.height, footage.width)
    masks = [mask for track in file.tracks.values() for mask in track if mask is not None]
    if file.size != size or any(mask.size != size for mask in masks):
        raise ValueError(f"{path}: its masks are not of the video's size, {size[0]} x {size[1]}")
    for key, track in file.tracks.items():
        if len(track) != footage.count:
            raise ValueError(f"{path}: {key} has {len(track)} masks, the video {footage.count} frames")
    return {key: tuple(None if mask is None else mask.counts for mask in track) for key, track in file.tracks.items()}


def _made(prompt: Prompt, folder: Path, footage: Footage, trackers: Trackers) -> Followed:
    if prompt.idmap is None:
        raise ValueError("its prompt names neither tracks nor idmap: nothing says who is who")
    path = folder / prompt.idmap
    try:
        indices = decode_id_map(path.read_bytes(), footage.height, footage.width)
    except FileNotFoundError:
        raise ValueError(f"there is no {path}") from None
    except ValueError as error:
        raise ValueError(f"ID map {path} {error}") from None
    frames = np.stack([footage.pictures[frame] for frame in range(footage.count)])
    return trackers.tracked(frames, {f"id{k}": indices == k for k in np.unique(indices).tolist() if k})


def check_engine(prompts: list[Prompt], trackers: Trackers) -> None:
    """UserError before the first video where a tracker is needed and cannot be used."""
    if any(prompt.tracks is None and prompt.idmap for prompt in prompts):
        _ = trackers.identity  # loads it
