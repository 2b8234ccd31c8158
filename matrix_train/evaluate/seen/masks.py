"""The masks of a video's instances: from its tracks file, or made by the track engine from its first-frame ID map."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from matrix_train.evaluate.protocol.prompt import Mask, Prompt
from matrix_train.evaluate.seen.footage import Footage
from matrix_train.evaluate.seen.strip import Followed
from matrix_train.sample.trackers import Trackers
from schemas.base import InstanceId
from schemas.idmap import decode_id_map
from schemas.palette import number
from schemas.sample import TrackFile
from schemas.text import one_line


@dataclass(frozen=True)
class Guide:
    """What says who is who, read before the video is: tracks, or the masks of the first frame alone."""

    path: Path
    size: tuple[int, int]
    """(height, width)"""
    tracks: Followed
    first: Mapping[InstanceId, Mask]


def read_guide(prompt: Prompt, folder: Path) -> Guide:
    """folder: of the prompts file. ValueError where nothing says who is who, or not of an instance of the prompt."""
    name = prompt.tracks or prompt.idmap
    if name is None:
        raise ValueError("its prompt names neither tracks nor idmap: nothing says who is who")
    path = folder / name
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path} is no file")  # a pipe or a device may never end
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"there is no {path}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    guide = _tracks(path, content) if prompt.tracks else _id_map(path, content)
    if lost := sorted({i.id for i in prompt.instances} - guide.tracks.keys() - guide.first.keys(), key=number):
        raise ValueError(f"no track of {lost[0]}, which the prompt names")
    return guide


def follow(guide: Guide, footage: Footage, trackers: Trackers) -> Followed:
    """The tracks of all instances that the guide knows. Where it knows the first frame, `footage` must be whole.

    ValueError, or a UserError of the tracker, where it does not fit the video or they are not to be had.
    """
    if guide.size != (footage.height, footage.width):
        theirs, own = (" x ".join(map(str, size)) for size in (guide.size, (footage.height, footage.width)))
        raise ValueError(f"{guide.path} is not of the video's size: {theirs}, not {own}")
    if guide.first:
        return trackers.tracked(footage.frames, guide.first)
    for key, track in guide.tracks.items():
        if len(track) != footage.count:
            raise ValueError(f"{guide.path}: {key} has {len(track)} masks, the video {footage.count} frames")
    return guide.tracks


def _tracks(path: Path, content: bytes) -> Guide:
    try:
        file = TrackFile.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{path} is no tracks file (docs/shard_entry.md): {one_line(error)}") from None
    if any(mask is not None and mask.size != file.size for track in file.tracks.values() for mask in track):
        raise ValueError(f"{path}: its masks are not of its own size, {file.size[0]} x {file.size[1]}")
    # Whoever is seen in no frame has no track: what it does or not is not known.
    seen = {key: track for key, track in file.tracks.items() if any(track)}
    tracks = {key: tuple(None if mask is None else mask.counts for mask in track) for key, track in seen.items()}
    return Guide(path, file.size, tracks, {})


def _id_map(path: Path, content: bytes) -> Guide:
    try:
        indices = decode_id_map(content)
    except ValueError as error:
        raise ValueError(f"ID map {path} {error}") from None
    height, width = indices.shape
    first = {f"id{k}": indices == k for k in np.unique(indices).tolist() if k}
    return Guide(path, (height, width), {}, first)


def check_engine(prompts: list[Prompt], trackers: Trackers) -> None:
    """UserError before the first video where a tracker is needed and cannot be used."""
    if any(prompt.tracks is None and prompt.idmap for prompt in prompts):
        _ = trackers.identity  # loads it
