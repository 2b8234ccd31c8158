"""`matrix_data rebuild`: labels without pixels (tasks/exports/labels.py) and the reader's own videos become a dataset.

Videos are known by their SHA-256, whatever they are called here. Each goes through the very code that cut it first, in
a child process, and each clip is held against the digest that its labels name: it is the same, or it is left out.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from schemas import Sample, SourceFile, SourceVideo, TrackFile
from schemas.base import ClipId, Sha256
from schemas.text import one_line
from tasks.errors import Reject, UserError
from tasks.exports.labels import LABELS, MANIFEST, VERSION, made_with
from tasks.exports.making import LeftOut
from tasks.ingest import sandbox
from tasks.ingest.stage import IngestSettings, cut_source, name_clip
from tasks.scan.listing import ScanSettings, list_files
from tasks.scan.stage import hash_files
from tasks.shard.entry import Entry, entry_of
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder


@dataclass(frozen=True)
class Told:
    """A clip that the labels speak of, and where its line begins."""

    source: Sha256
    key: ClipId
    file: str
    offset: int

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True)
class Labelled:
    """What a folder of labels holds. `clips` are sorted by their videos."""

    folder: Folder
    clips: list[Told]
    names: frozenset[str]
    """Names that the videos had, without folders."""
    ingest: IngestSettings
    shards: ShardSettings
    fingerprints: Mapping[str, str]
    made_with: str
    identity: str


def read_labels(folder: Folder) -> Labelled:
    """UserError where the folder holds no labels, or not all of them as they were written."""
    try:
        data = folder.read(MANIFEST)
        found = json.loads(data)
        if found["version"] != VERSION:
            raise UserError(f"{folder.uri} holds labels of version {found['version']}, this reads {VERSION}")
        files = {str(name): str(digest) for name, digest in found["files"].items()}
        settings = IngestSettings.model_validate(found["ingest"]), ShardSettings.model_validate(found["shard"])
        prints = {str(stage): str(value) for stage, value in found["fingerprints"].items()}
        made = one_line(found["made_with"])
        clips, names = _clips(folder, files)
    except FileNotFoundError:
        raise UserError(f"no {MANIFEST} in {folder.uri}: give a folder that `--format labels` wrote") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{MANIFEST} in {folder.uri} is damaged: {one_line(error)}") from None
    identity = hashlib.sha256(data).hexdigest()
    return Labelled(folder, clips, names, *settings, prints, made, identity)


def _clips(folder: Folder, files: Mapping[str, str]) -> tuple[list[Told], frozenset[str]]:
    clips, names = [], set[str]()
    for file, digest in files.items():
        if not file.startswith(f"{LABELS}/"):
            raise UserError(f"{MANIFEST} in {folder.uri} names {one_line(file)}, which is no file of labels")
        for offset, line in _lines(folder, file, digest):
            origin = line["sample"]["provenance"]
            clips.append(Told(origin["source_digest"], line["key"], file, offset))
            names.update(uri.rstrip("/").rpartition("/")[2] for uri in origin["uris"])
    return sorted(clips, key=lambda clip: (clip.source, clip.key)), frozenset(names)


def _lines(folder: Folder, file: str, digest: str) -> list[tuple[int, Any]]:
    """The lines of one file with where each begins."""
    try:
        data = folder.read(file)
    except (FileNotFoundError, ValueError):
        raise UserError(f"{folder.uri} lacks {one_line(file)}: copy the whole folder") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise UserError(f"{folder.shown(file)} is damaged: its SHA-256 is not the one in {MANIFEST}")
    found, offset = [], 0
    for line in data.splitlines(keepends=True):
        found.append((offset, json.loads(line)))
        offset += len(line)
    return found


def find_copies(
    told: Labelled, videos: str, scan: ScanSettings, tell: Callable[[int, int], None]
) -> dict[Sha256, SourceFile]:
    """The reader's files by digest; those whose names are known are looked at first, and no more than needed."""
    wanted, copies = {clip.source for clip in told.clips}, dict[Sha256, SourceFile]()
    files = sorted(list_files(videos, scan), key=lambda file: PurePosixPath(file.name).name not in told.names)
    for file in files:
        if len(copies) == len(wanted):
            break
        (row,) = hash_files([file], scan)
        if row.payload and row.payload.digest in wanted:
            copies.setdefault(row.payload.digest, row.payload)
            tell(len(copies), len(wanted))
    return copies


def entry_maker(told: Labelled, copies: Mapping[Sha256, SourceFile], scan: ScanSettings) -> Callable[[Told], Entry]:
    """Gives a clip's entry. A video is cut once for the clips that follow one another; only these are in memory."""
    held: dict[Sha256, dict[ClipId, bytes] | LeftOut] = {}

    def entry(clip: Told) -> Entry:
        if clip.source not in held:
            held.clear()
            held[clip.source] = _cut(clip.source, told, copies, scan)
        cut = held[clip.source]
        if isinstance(cut, LeftOut):
            raise cut
        sample, tracks = _labels(told.folder, clip)
        mp4 = cut.get(clip.key)
        if mp4 is None:
            raise LeftOut("not_cut", "its video gives other clips here than where the labels were made")
        if hashlib.sha256(mp4).hexdigest() != sample.provenance.media_digest:
            raise LeftOut("other_bytes", f"the labels were made with {told.made_with}, here is {made_with()}")
        made = entry_of(sample, tracks)
        return Entry(sample, {"mp4": mp4, **made.files})

    return entry


def _cut(
    digest: Sha256, told: Labelled, copies: Mapping[Sha256, SourceFile], scan: ScanSettings
) -> dict[ClipId, bytes] | LeftOut:
    copy = copies.get(digest)
    if copy is None:
        return LeftOut("no_video", f"no file with SHA-256 {digest}")
    source = SourceVideo(
        source_id=digest[:16], uris=(copy.uri,), digest=digest, size_bytes=copy.size_bytes, caption=None, dataset=""
    )
    try:
        _, _, clips = cut_source(source, told.ingest, scan)
    except Reject as reject:
        return LeftOut(str(reject.reason), reject.detail)
    except sandbox.ChildFailed as error:  # with settings that no build of ours has
        return LeftOut("not_cut", one_line(error))
    return {name_clip(digest, piece.window): mp4 for piece, mp4 in clips}


def _labels(folder: Folder, clip: Told) -> tuple[Sample, TrackFile]:
    with folder.open(clip.file) as stream:
        stream.seek(clip.offset)
        line = json.loads(stream.readline())
    try:
        sample, tracks = Sample.model_validate(line["sample"]), TrackFile.model_validate(line["tracks"])
    except ValidationError as error:
        raise LeftOut("bad_sample", one_line(error)) from None
    if sample.clip_id != clip.key or set(tracks.tracks) != {i.id for i in sample.instances}:
        raise LeftOut("bad_sample", "its labels are of another clip, or name other IDs than its masks")
    return sample, tracks
