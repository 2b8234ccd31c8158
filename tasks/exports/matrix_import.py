"""`matrix_data import --format matrix`: the authors' layout (tasks/exports/matrix.py) becomes a dataset of ours.

Videos are taken byte for byte, masks and IDs from the pictures, so what was mended in these comes in. A clip with a
`samples/<name>.json`, as our export writes it, keeps all that it says, where it is of this video and this prompt; of
one without, the prompt is read (tasks/exports/prompt_reading.py). Nothing read here is trusted: names, sizes and counts
are checked, and every video is decoded to its end in a child process.
"""

import csv
import hashlib
import io
import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from schemas import MaskRle, MediaFacts, Sample, TrackFile
from schemas.palette import number
from schemas.text import caption_problem, one_line
from tasks.errors import UserError
from tasks.exports.making import LeftOut
from tasks.exports.matrix import prompt
from tasks.exports.prompt_reading import sample_of
from tasks.ingest import sandbox
from tasks.media.clips import encode_mask
from tasks.shard.entry import Entry, entry_of
from tasks.store.folder import Folder

_NAME = re.compile(r"([0-9A-Za-z_-][0-9A-Za-z_.-]{0,99})\.mp4")
_ID = re.compile(r"<(id[1-9][0-9]?)>")
_LIMITS = sandbox.Limits(120, 2 << 30)
_LONGEST = 20_000
"""Characters of a prompt."""


@dataclass(frozen=True)
class Told:
    """A row of `metadata.csv`."""

    video: str
    prompt: str

    def __str__(self) -> str:
        return one_line(self.video)


def read_metadata(source: Folder) -> list[Told]:
    """The rows in their order. UserError where there is no such table."""
    try:
        text = source.read("metadata.csv").decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if not {"video", "prompt"} <= set(rows.fieldnames or ()):
            raise UserError(f"metadata.csv in {source.uri} has no columns video and prompt")
        return [Told(row["video"] or "", row["prompt"] or "") for row in rows]
    except FileNotFoundError:
        raise UserError(f"no metadata.csv in {source.uri}: give the folder that holds videos/") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"metadata.csv in {source.uri} cannot be read: {one_line(error)}") from None


def digest_of(told: list[Told]) -> str:
    """SHA-256 over the rows."""
    return hashlib.sha256("\0".join(part for one in told for part in (one.video, one.prompt)).encode()).hexdigest()


def fingerprints_of(source: Folder, told: list[Told]) -> dict[str, str]:
    """Those of the dataset that was exported, which each of its samples repeats; of another folder, the import's own.

    UserError where some rows have a sample of ours and others not: they cannot be one dataset.
    """
    there = set(source.names("samples"))
    own = [one for one in told if f"{one.video.removesuffix('.mp4')}.json" in there]
    if not own:
        return {"import": "matrix/1"}
    if len(own) != len(told):
        raise UserError(f"{len(own)} of {len(told)} videos have a samples/*.json: import them apart from the others")
    for one in own:
        if _NAME.fullmatch(one.video) and (sample := _readable(source, one)):
            return dict(part.split("=", 1) for part in sample.provenance.fingerprints)
    raise UserError(f"no file in {source.uri}/samples is a sample of this version")


def _readable(source: Folder, one: Told) -> Sample | None:
    try:
        return _own_sample(source, one.video.removesuffix(".mp4"))
    except LeftOut:
        return None


def read_entry(source: Folder, told: Told, fingerprints: dict[str, str]) -> Entry:
    """The entry of a row, with its mp4. LeftOut where video, masks or sample are not what they should be."""
    found = _NAME.fullmatch(told.video)
    if not found:
        raise LeftOut("bad_name", "a video is named by letters, digits, _, - and ., and ends in .mp4")
    stem = found[1]
    try:
        mp4 = source.read(f"videos/{told.video}")
    except FileNotFoundError:
        raise LeftOut("no_video", f"there is no videos/{told.video}") from None
    if problem := caption_problem(told.prompt, _LONGEST):
        raise LeftOut("bad_prompt", problem)
    facts = _facts(mp4)
    sample = _own_sample(source, stem)
    if sample is None:
        tracks = read_masks(source, stem, facts.frames, facts.height, facts.width)
        sample = sample_of(told.prompt, mp4, facts, tracks, f"{source.uri}/videos/{told.video}", fingerprints)
    else:
        if hashlib.sha256(mp4).hexdigest() != sample.provenance.media_digest:
            raise LeftOut("changed_video", "it is not the video that samples/ speaks of; take that file away")
        said, is_so = ((one.frames, one.width, one.height, one.fps) for one in (sample, facts))
        if said[:3] != is_so[:3] or not math.isclose(said[3], is_so[3], rel_tol=1e-3):  # ticks of the container round
            shown = "{} frames of {} x {} at {:g}, the video has {} of {} x {} at {:g}".format(*said, *is_so)
            raise LeftOut("changed_video", f"samples/ says {shown}")
        if told.prompt != prompt(sample):
            raise LeftOut("changed_prompt", "it is not the one of samples/; put it back, or take all of samples/ away")
        if sample.provenance.fingerprints != tuple(f"{stage}={value}" for stage, value in fingerprints.items()):
            raise LeftOut("bad_sample", "it was made under other fingerprints than the first")
        tracks = read_masks(source, stem, sample.frames, sample.height, sample.width)
        if set(tracks.tracks) != {i.id for i in sample.instances}:
            raise LeftOut("other_ids", "mask_annotation/ and samples/ do not name the same IDs")
    entry = entry_of(sample, tracks)
    return Entry(sample, {"mp4": mp4, **entry.files})


def _facts(mp4: bytes) -> MediaFacts:
    """What the video says of itself. LeftOut where it does not decode, or does something to the decoder."""
    try:
        reply = sandbox.run("tasks.exports.probe:probe", mp4, _LIMITS)
    except (sandbox.ChildTimeout, sandbox.ChildCrash, sandbox.ChildMemory, sandbox.ChildFailed) as error:
        raise LeftOut("undecodable", f"the decoder ended with {type(error).__name__}: {one_line(error)}") from None
    if not reply:
        raise LeftOut("undecodable", "the video cannot be decoded to its end")
    return MediaFacts.model_validate_json(reply)


def _own_sample(source: Folder, stem: str) -> Sample | None:
    try:
        sample = Sample.model_validate_json(source.read(f"samples/{stem}.json"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise LeftOut("bad_sample", f"samples/{stem}.json: {one_line(error)}") from None
    if not all("=" in part for part in sample.provenance.fingerprints):
        raise LeftOut("bad_sample", f"samples/{stem}.json: a fingerprint is written stage=fingerprint")
    return sample


def read_masks(source: Folder, stem: str, frames: int, height: int, width: int) -> TrackFile:
    """One mask a frame of every `<idK>` folder. LeftOut where there are others, or of another size."""
    folder = f"mask_annotation/{stem}"
    names = sorted((m[1] for m in map(_ID.fullmatch, source.names(folder)) if m), key=number)
    tracks: dict[str, tuple[MaskRle | None, ...]] = {}
    for name in names:
        pictures = [p for p in source.names(f"{folder}/<{name}>") if p.endswith(".png")]
        if pictures != [f"{frame:03d}.png" for frame in range(frames)]:
            raise LeftOut("bad_masks", f"{name} has {len(pictures)} pictures, not 000.png to {frames - 1:03d}.png")
        masks = [_mask(source.read(f"{folder}/<{name}>/{p}"), height, width, f"{name}/{p}") for p in pictures]
        if not any(mask.any() for mask in masks):
            raise LeftOut("bad_masks", f"{name} is empty in every frame")
        rles = map(encode_mask, masks)
        tracks[name] = tuple(MaskRle(size=(height, width), counts=rle) if rle else None for rle in rles)
    if len(tracks) < 2:
        raise LeftOut("bad_masks", f"{len(tracks)} folders <idK> in {folder}, two are needed")
    return TrackFile(size=(height, width), tracks=tracks)


def _mask(png: bytes, height: int, width: int, what: str) -> NDArray[np.bool_]:
    """Where the picture is lighter than half, or not 0 in one of 0 and 1. LeftOut."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.size != (width, height):
                raise LeftOut("bad_masks", f"{what} is {image.size[0]} x {image.size[1]}, the video {width} x {height}")
            grey = np.asarray(image if image.mode == "L" else image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise LeftOut("bad_masks", f"{what} is no readable PNG") from None
    return np.asarray(grey > 0 if grey.max(initial=0) <= 1 else grey > 127)
