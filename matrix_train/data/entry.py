"""One entry of a shard, read by its byte range and checked whole before anything trains on it (docs/shard_entry.md).

What does not hold makes a `BadEntry`: named, counted, and never half used.
"""

import hashlib
import io
import tarfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import webdataset as wds
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from pydantic_core import from_json

from matrix_train.data.index import Source
from matrix_train.data.masks import MaskTracks
from schemas import SCHEMA_VERSION, RoleSpans, Sample, TrackFile
from schemas.dataset import SUFFIXES, IndexRow
from schemas.idmap import id_map, palette_indices
from schemas.labels import Said, relabel
from schemas.text import one_line

BadReason = Literal[
    "missing_shard",
    "torn",
    "missing_file",
    "other_schema",
    "bad_json",
    "index_differs",
    "caption_differs",
    "bad_spans",
    "missing_mask",
    "bad_mask",
    "bad_id_map",
    "bad_label",
    "broken_video",
    "too_short",
]
"""Closed set; docs/training/data.md says what each means and what to do."""


@dataclass(frozen=True)
class BadEntry:
    """An entry that is not trained on, and why."""

    key: str
    shard: str
    reason: BadReason
    detail: str

    def __str__(self) -> str:
        return f"{self.shard}: {self.key}: {self.reason}: {self.detail}"


class Bad(Exception):
    """Raised while an entry is checked; becomes a `BadEntry`."""

    def __init__(self, reason: BadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: BadReason = reason

    def entry(self, row: IndexRow) -> BadEntry:
        return BadEntry(row.key, row.shard, self.reason, one_line(self))


@dataclass(frozen=True)
class Entry:
    """A checked entry. `mp4` is what ingest wrote, by its digest; decoding it is `video.decode`.

    `id_map`: palette indices [H, W]; index k is `id<k>`.
    """

    sample: Sample
    masks: MaskTracks
    id_map: NDArray[np.uint8]
    mp4: bytes


def read_entry(source: Source, row: IndexRow, said: Said = ()) -> Entry:
    """The entry of an index row, as people left it. said: their labels of it (`Listing.labels`).

    Bad for one that fails any check; UserError where the folder cannot be read.
    """
    try:
        data = source.read(row.shard, row.offset, row.offset + row.bytes)
    except FileNotFoundError:
        raise Bad("missing_shard", "listed in dataset.json, but not in the folder") from None
    if len(data) < row.bytes:
        raise Bad("torn", f"the shard ends {row.bytes - len(data)} bytes before the entry does")
    return parse_entry(data, row, said)


def parse_entry(data: bytes, row: IndexRow, said: Said = ()) -> Entry:
    """The entry from its bytes, first checked as it was written. Bad for one that fails any check."""
    files = _files(data, row)
    sample = _sample(files["json"])
    differs = _differences(sample, row)
    if differs:
        raise Bad("index_differs", f"{', '.join(differs)} not as in the index")
    if files["txt"] != sample.caption.encode():
        raise Bad("caption_differs", "the .txt is not the caption of the .json")
    for act in sample.interactions:
        _check_spans(sample.caption, act.spans)
    masks = _masks(files["tracks.json"], sample)
    shown = _id_map(files["idmap.png"], sample)
    if not masks.agrees_with(shown):
        raise Bad("bad_id_map", "the ID map does not show the first frame's masks")
    if hashlib.sha256(files["mp4"]).hexdigest() != sample.provenance.media_digest:
        raise Bad("broken_video", "the mp4 is not the one on record: its SHA-256 differs")
    return Entry(sample, masks, shown, files["mp4"]) if not said else _labelled(sample, files, said)


def _labelled(sample: Sample, files: dict[str, bytes], said: Said) -> Entry:
    try:
        changed, tracks = relabel(sample, TrackFile.model_validate_json(files["tracks.json"]), said)
        masks = MaskTracks.read(tracks)
    except ValueError as error:
        raise Bad("bad_label", one_line(error)) from None
    firsts = {name: masks.fill(name, range(1))[0] for name in masks.runs}
    return Entry(changed, masks, id_map(firsts, masks.height, masks.width), files["mp4"])


def _files(data: bytes, row: IndexRow) -> dict[str, bytes]:
    """The five files by suffix, parsed by webdataset."""

    def members() -> Iterator[dict[str, Any]]:
        # The range ends with the entry; two empty blocks are tar's end mark.
        for member in wds.tariterators.tar_file_iterator(io.BytesIO(data + bytes(1024))):
            yield {**member, "__url__": row.shard}

    try:
        found = list(wds.tariterators.group_by_keys(members()))
    except (tarfile.TarError, ValueError, EOFError, OSError) as error:
        raise Bad("torn", f"not a tar: {one_line(error.args[0] if error.args else error)}") from None
    keys = [sample["__key__"] for sample in found]
    if keys != [row.key]:
        raise Bad("torn", f"the bytes hold {', '.join(keys) or 'nothing'} instead of {row.key}")
    missing = [suffix for suffix in SUFFIXES if suffix not in found[0]]
    if missing:
        raise Bad("missing_file", f"no {', '.join(missing)}")
    return {suffix: found[0][suffix] for suffix in SUFFIXES}


def _sample(data: bytes) -> Sample:
    try:
        raw: Any = from_json(data)
        version = raw["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise Bad("bad_json", f".json: {type(error).__name__}: {one_line(error)}") from None
    if version != SCHEMA_VERSION:
        raise Bad("other_schema", f"schema version {one_line(version, 20)}, this matrix_train reads {SCHEMA_VERSION}")
    try:
        return Sample.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        about_spans = "spans" in first["loc"] or "a span of" in first["msg"]
        raise Bad("bad_spans" if about_spans else "bad_json", f".json: {one_line(error)}") from None


def _differences(sample: Sample, row: IndexRow) -> list[str]:
    own = IndexRow.of(sample, row.shard, row.split, row.offset, row.bytes)
    return [name for name in IndexRow.model_fields if getattr(own, name) != getattr(row, name)]


def _check_spans(caption: str, spans: RoleSpans) -> None:
    """A span holds words, whole ones: one that has slipped by a few characters would teach the wrong token."""
    for role, parts in spans:
        for span in parts:
            text = caption[span.start : span.end]
            if not text.strip():
                raise Bad("bad_spans", f"the {role}'s span {span.start}-{span.end} is blank")
            if _cuts_word(caption, span.start) or _cuts_word(caption, span.end):
                raise Bad("bad_spans", f"the {role}'s span {span.start}-{span.end} cuts a word: {text!r}")


def _cuts_word(caption: str, at: int) -> bool:
    """Whether letters with upper and lower case stand on both sides. Scripts without spaces have no such letters."""
    around = caption[max(0, at - 1) : at + 1]
    return len(around) == 2 and at > 0 and all(unicodedata.category(c) in ("Ll", "Lu") for c in around)


def _masks(data: bytes, sample: Sample) -> MaskTracks:
    try:
        tracks = TrackFile.model_validate_json(data)
    except ValidationError as error:
        raise Bad("bad_json", f".tracks.json: {one_line(error)}") from None
    size = (sample.height, sample.width)
    if tracks.size != size:
        raise Bad("bad_mask", f"tracks of size {tracks.size} for a clip of {size}")
    for instance in sample.instances:
        if instance.id not in tracks.tracks:
            raise Bad("missing_mask", f"{instance.id} has no track")
    for name, masks in tracks.tracks.items():
        if len(masks) != sample.frames:
            raise Bad("missing_mask", f"{name} has {len(masks)} masks for {sample.frames} frames")
    try:
        return MaskTracks.read(tracks)
    except ValueError as error:
        raise Bad("bad_mask", str(error)) from None


def _id_map(png: bytes, sample: Sample) -> NDArray[np.uint8]:
    """Palette indices [H, W] of the PNG, which may be a palette image or RGB."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            # Before any pixel is decoded: a small file may claim a huge picture.
            if image.size != (sample.width, sample.height):
                raise Bad("bad_id_map", f"{image.height} x {image.width}, not {sample.height} x {sample.width}")
            image.load()
            try:
                return palette_indices(image)
            except ValueError as error:
                raise Bad("bad_id_map", f"it {error}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Bad("bad_id_map", f"not a readable PNG: {one_line(error)}") from None
