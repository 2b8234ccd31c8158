"""Stage `shard`: accepted clips become WebDataset tars, an index and an account of the whole (docs/stages/shard.md).

A shard is a pure function of the records that go into it: sorted keys, fixed headers, deterministic encoding. It is
written once. Samples that come later go to new shards, so what was downloaded stays valid.

`dataset.json` is written last, so a build that is killed leaves the dataset as it was: shards that are not listed are
written again, to the same bytes, by the next run.
"""

import errno
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from schemas import SCHEMA_VERSION, Reason
from schemas.dataset import (
    CARD_FILE,
    DATASET_FILE,
    INDEX_FILE,
    SHARD_PATTERN,
    SUFFIXES,
    Counts,
    DatasetFile,
    IndexRow,
    ShardInfo,
    Split,
)
from schemas.settings import Settings
from tasks.dataset.reader import DatasetError, decode_index, encode_index, read_dataset
from tasks.dataset.split import split_of
from tasks.dataset.tar import TarWriter, padded
from tasks.dedupe.stage import nearest_of
from tasks.errors import Reject, UserError
from tasks.outcome import Case
from tasks.shard.card import card
from tasks.shard.entry import RESULTS, Entry, build_entry
from tasks.shard.groups import Kin, group_sources
from tasks.spec import StageSpec, Work
from tasks.store.folder import TEMPORARY, Folder

Load = Callable[[str], Case]


class ShardSettings(Settings):
    """How samples are spread over shards."""

    val_share: float = Field(
        default=0.05, ge=0, le=1, description="share of videos held out, each with those that look alike"
    )
    max_samples: int = Field(default=512, ge=1, le=100_000, description="most samples in a shard")
    max_mb: int = Field(
        default=512, ge=1, le=100_000, description="most megabytes (10^6) in a shard of several samples"
    )


@dataclass(frozen=True)
class LeftOut:
    """An accepted clip that is in no shard."""

    key: str
    reason: Reason
    """`clip_lost`: its source's row at ingest has to be forgotten, and the next build makes the clip again.
    `near_held_out`: it has no place in this dataset."""
    detail: str


@dataclass(frozen=True)
class DatasetSummary:
    """What a run of the stage left behind."""

    path: str
    counts: Counts
    added: int
    """Samples that this run put in."""
    new_shards: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    """Sorted by key. A later run tries these again."""


def write_dataset(
    keys: Sequence[str],
    load: Load,
    kin: Kin,
    store: Folder,
    dest: Folder,
    settings: ShardSettings,
    fingerprints: Mapping[str, str],
) -> DatasetSummary:
    """Bring the dataset in `dest` up to `keys`. Samples already in it are skipped, shards in it never touched.

    `load` gives the case of an accepted clip, `kin` has the sources of all of `keys`, `store` holds the clips' mp4
    files. A clip whose mp4 is gone or not what ingest wrote is left out, and so is one that would stand on both sides
    of the split. The caller keeps other writers out. UserError where the dataset was made under other settings or
    fingerprints, or is damaged.
    """
    try:
        account = _continued(dest, settings, fingerprints)
        rows, stored_index = _listed_rows(dest, account)
    except DatasetError as error:
        raise DatasetError(
            f"{dest.root}: {error}; restore it, or remove that folder and build again: every clip is on record"
        ) from None
    have = {row.key for row in rows}
    new = [k for k in sorted(set(keys)) if k not in have]
    groups, apart = group_sources(kin, {row.source_digest[:16]: row.group for row in rows}, settings.val_share)
    left_out: list[LeftOut] = []

    def entries(split: Split) -> Iterator[Entry]:
        for key in new:
            source = kin.source_of[key]
            if split_of(groups[source], settings.val_share) != split:
                continue
            if source in apart:
                detail = f"its video {source} is near to {apart[source]}, which is held out, and to one trained on"
                left_out.append(LeftOut(key, Reason.NEAR_HELD_OUT, detail))
                continue
            try:
                yield _entry(load(key), groups[source], store, fingerprints)
            except Reject as lost:
                left_out.append(LeftOut(key, lost.reason, lost.detail))

    shards = list(account.shards)
    for split in ("train", "val"):
        for shard, shard_rows in _write_split(entries(split), split, _next_number(shards, split), dest, settings):
            shards.append(shard)
            rows += shard_rows
    _clean(dest, {s.name for s in shards})
    index = encode_index(rows)
    finished = account.model_copy(
        update={
            "counts": _count(shards, rows),
            "shards": tuple(sorted(shards, key=lambda s: s.name)),
            "index_sha256": hashlib.sha256(index).hexdigest(),
        }
    )
    if hashlib.sha256(stored_index).hexdigest() != finished.index_sha256:
        dest.write(INDEX_FILE, index)
    if not dest.exists(CARD_FILE) or dest.read(CARD_FILE) != card(finished):
        dest.write(CARD_FILE, card(finished))
    if finished != account or not dest.exists(DATASET_FILE):
        dest.write(DATASET_FILE, (finished.model_dump_json(indent=2) + "\n").encode())
    new_shards = tuple(s.name for s in finished.shards if s not in account.shards)
    added = len(new) - len(left_out)
    return DatasetSummary(dest.root, finished.counts, added, new_shards, tuple(sorted(left_out, key=lambda c: c.key)))


def _continued(dest: Folder, settings: ShardSettings, fingerprints: Mapping[str, str]) -> DatasetFile:
    """The dataset's account, or that of an empty one. UserError unless it was made under the same settings."""
    empty = DatasetFile(
        settings=settings.model_dump(),
        fingerprints=dict(fingerprints),
        counts=Counts(),
        shards=(),
        index_sha256="0" * 64,
    )
    found = read_dataset(dest)
    if found is None:
        return empty
    if found.schema_version != SCHEMA_VERSION:
        raise UserError(
            f"{dest.root} has schema version {found.schema_version}: give another folder for the new dataset"
        )
    changed = [k for k in ("settings", "fingerprints") if getattr(found, k) != getattr(empty, k)]
    if changed:
        raise UserError(
            f"{dest.root} was made under other {' and '.join(changed)}: give another folder for the new dataset"
        )
    gone = sorted({s.name for s in found.shards} - set(dest.names()))
    if gone:
        raise DatasetError(f"{gone[0]} is gone")
    return found


def _listed_rows(dest: Folder, account: DatasetFile) -> tuple[list[IndexRow], bytes]:
    """Index rows of the listed shards, and the index as it is on disk.

    A run that was killed between index and account leaves an index with rows of shards that are not listed: those are
    no part of the dataset.
    """
    if not dest.exists(INDEX_FILE):
        if account.shards:
            raise DatasetError(f"{INDEX_FILE} is gone")
        return [], b""
    data = dest.read(INDEX_FILE)
    if not account.shards:
        return [], data
    per_shard: dict[str, list[IndexRow]] = {s.name: [] for s in account.shards}
    for row in decode_index(data):
        if row.shard in per_shard:
            per_shard[row.shard].append(row)
    for shard in account.shards:
        if len(per_shard[shard.name]) != shard.samples:
            raise DatasetError(
                f"{INDEX_FILE} has {len(per_shard[shard.name])} rows for {shard.name}, which holds {shard.samples}"
            )
    return [row for rows in per_shard.values() for row in rows], data


def _entry(case: Case, group: str, store: Folder, fingerprints: Mapping[str, str]) -> Entry:
    """The whole entry of a clip, its mp4 first. Reject where the mp4 is not the one that ingest put on record."""
    path = case.clip.path
    try:
        mp4 = store.read(path)
    except OSError as error:
        # Any other error is not of this one file but of the disk or the network, and would meet the next one too.
        if not isinstance(error, FileNotFoundError | IsADirectoryError) and error.errno != errno.EIO:
            raise
        raise Reject(Reason.CLIP_LOST, f"{path} is gone since ingest ({type(error).__name__})") from None
    if hashlib.sha256(mp4).hexdigest() != case.clip.media_digest:
        raise Reject(Reason.CLIP_LOST, f"{path} has changed since ingest: {len(mp4)} bytes of another SHA-256")
    entry = build_entry(case, group, fingerprints)
    return replace(entry, files={"mp4": mp4, **entry.files})


def _write_split(
    entries: Iterator[Entry], split: Split, number: int, dest: Folder, settings: ShardSettings
) -> Iterator[tuple[ShardInfo, list[IndexRow]]]:
    """Shards filled in the order of the entries; each is on disk when it is yielded. One entry is held ahead."""
    entry = next(entries, None)
    while entry is not None:
        name = f"{split}-{number:06d}.tar"
        rows: list[IndexRow] = []
        with dest.create(name) as stream, TarWriter(stream) as tar:
            while entry is not None and _fits(entry, len(rows), tar.size, settings):
                offset = tar.size
                for suffix in SUFFIXES:
                    tar.add(f"{entry.sample.clip_id}.{suffix}", entry.files[suffix])
                rows.append(IndexRow.of(entry.sample, name, split, offset, tar.size - offset))
                entry = next(entries, None)
        yield ShardInfo(name=name, split=split, samples=len(rows), bytes=tar.size, sha256=tar.sha256), rows
        number += 1


def _fits(entry: Entry, samples: int, size: int, settings: ShardSettings) -> bool:
    """Whether a shard takes one more entry. The first always fits."""
    grown = size + sum(padded(len(data)) for data in entry.files.values())
    return samples == 0 or (samples < settings.max_samples and grown <= settings.max_mb * 1_000_000)


def _next_number(shards: Sequence[ShardInfo], split: Split) -> int:
    return max((int(s.name[-10:-4]) + 1 for s in shards if s.split == split), default=0)


def _clean(dest: Folder, listed: set[str]) -> None:
    """Remove what killed runs left: temporary files, and shards beyond those that the dataset now has."""
    for name in dest.names():
        if name.startswith(TEMPORARY) or (re.fullmatch(SHARD_PATTERN, name) and name not in listed):
            dest.remove(name)


def _count(shards: Sequence[ShardInfo], rows: Sequence[IndexRow]) -> Counts:
    return Counts(
        samples=len(rows),
        train=sum(s.samples for s in shards if s.split == "train"),
        val=sum(s.samples for s in shards if s.split == "val"),
        shards=len(shards),
        bytes=sum(s.bytes for s in shards),
        instances=sum(r.instances for r in rows),
        interactions=sum(r.interactions for r in rows),
        frames=sum(r.frames for r in rows),
    )


def _whole(work: Work) -> list[str]:
    """Write the accepted clips that are in no shard yet; tells of those that are left out."""
    ingest = work.store("ingest")
    near = {row.key: other for rows in work.store("dedupe").scan() for row in rows if (other := nearest_of(row))}
    kin = Kin(ingest.links(), near)
    keys = [key for key in work.arrived() if key in kin.source_of]
    if not keys:
        return []
    done = write_dataset(
        keys,
        lambda clip_id: work.cases([clip_id])[0],
        kin,
        work.folder,
        work.dataset,
        work.settings,
        work.fingerprints,
    )
    # What ingest made is gone: the next build makes it again.
    ingest.forget(ingest.leading_to(c.key for c in done.left_out if c.reason is Reason.CLIP_LOST))
    told = []
    for reason in sorted({clip.reason for clip in done.left_out}):
        out = [clip for clip in done.left_out if clip.reason is reason]
        told.append(f"{len(out)} accepted clips are in no shard: {reason}, as {out[0].key}: {out[0].detail}")
    return told


SPEC = StageSpec(
    name="shard",
    version=2,
    settings=ShardSettings,
    whole=_whole,
    needs=RESULTS,
    rejects={
        Reason.CLIP_LOST: "its mp4 is gone or has changed since ingest; the next build makes it again",
        Reason.NEAR_HELD_OUT: "it is near to a held-out video and to one trained on",
    },
)
