"""`matrix_data verify`: is a dataset what its account says, and is a store whole? Nothing read here is trusted.

Every finding is a `Problem`, one printable line. A file that cannot be read is a finding, never an error.
"""

import hashlib
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from schemas import Sample, TrackFile
from schemas.dataset import DATASET_FILE, INDEX_FILE, SHARD_PATTERN, DatasetFile, IndexRow, ShardInfo
from schemas.rle import run_lengths
from tasks.dataset.idmap import decode_id_map, id_map
from tasks.dataset.reader import DatasetError, Loaded, RawEntry, decode_index, one_line, parse, read_dataset, read_raw
from tasks.dataset.tar import TarError
from tasks.media.clips import decode_mask
from tasks.shard.card import CARD_FILE
from tasks.shard.stage import split_of
from tasks.store.folder import TEMPORARY, Folder

_CHUNK = 1 << 20

_DAMAGE = (
    TarError,
    ValidationError,
    ValueError,
    OSError,
    pa.ArrowException,
    MemoryError,
    RecursionError,
    OverflowError,
)
"""What reading damaged data raises. json.JSONDecodeError, UnicodeDecodeError and av's errors are among these."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with `file`, a name below the folder; `key` is the clip_id where one entry is meant."""

    file: str
    message: str
    key: str = ""

    def __str__(self) -> str:
        where = f"{self.file} {self.key}".strip()
        return one_line(f"{where}: {self.message}", 500)


def verify(dataset: Folder, deep: bool = True) -> list[Problem]:
    """Problems of a dataset folder; none where it is sound.

    Always: the account, the index, the SHA-256 of every shard, unlisted and temporary files, unique keys, and that the
    entries are those of the index. `deep` also decodes every clip, mask and ID map, about 0.2 s a clip.
    """
    try:
        account = read_dataset(dataset)
    except _DAMAGE as error:
        return [Problem(DATASET_FILE, one_line(error)), *_strays(dataset, None)]
    except DatasetError as error:
        return [Problem(DATASET_FILE, one_line(error)), *_strays(dataset, None)]
    if account is None:
        return [
            Problem(DATASET_FILE, "is missing: an unfinished dataset, or no dataset at all"),
            *_strays(dataset, None),
        ]
    problems = list(_strays(dataset, account))
    rows, found = _index(dataset, account)
    problems += found
    seen: Counter[str] = Counter()
    for shard in account.shards:
        problems += _shard(dataset, shard, account, rows, seen, deep)
    problems += [Problem(INDEX_FILE, "is in no shard", key) for key in sorted(rows.keys() - seen.keys())]
    problems += [Problem(DATASET_FILE, f"is in {n} entries", key) for key, n in sorted(seen.items()) if n > 1]
    problems += _counts(account, rows)
    return problems


def verify_store(work: Folder) -> list[Problem]:
    """Problems of a stage store (`work/<stage>/<fingerprint>/*.parquet`): torn parts, stray and set-aside files, and
    normalised clips that are gone."""
    problems = []
    for name in _walk(work, ""):
        base = name.rsplit("/", 1)[-1]
        if base.startswith(TEMPORARY):
            problems.append(Problem(name, "temporary file of a run that was killed; `matrix_data gc` removes it"))
        elif base.startswith("torn-"):
            problems.append(
                Problem(name, "part that was set aside as torn; its clips are done again by the next build")
            )
        elif base.endswith(".parquet"):
            problems += _part(work, name)
    return problems


def _walk(folder: Folder, name: str) -> Iterator[str]:
    for child in folder.names(name or None):
        path = f"{name}/{child}" if name else child
        try:
            full = folder.path(path)
        except ValueError:
            continue
        if folder.fs.isdir(full):
            yield from _walk(folder, path)
        else:
            yield path


def _part(work: Folder, name: str) -> Iterator[Problem]:
    try:
        with work.open(name) as stream:
            parts = pq.ParquetFile(stream)
            for group in range(parts.num_row_groups):
                parts.read_row_group(group)
            if name.startswith("ingest/"):
                yield from _clips(work, name, parts)
    except _DAMAGE as error:
        yield Problem(name, f"torn or no Parquet: {one_line(error)}")


def _clips(work: Folder, name: str, parts: pq.ParquetFile) -> Iterator[Problem]:
    """Clips that a part of ingest has on record and that are no longer there."""
    for rows in parts.iter_batches(columns=["payload.clips.list.element.path"]):
        for payload in rows.column("payload").to_pylist():
            for clip in payload["clips"] if payload else ():
                if not work.exists(clip["path"]):
                    yield Problem(name, f"{clip['path']} is gone: delete this part, and the next build makes it again")


def _strays(dataset: Folder, account: DatasetFile | None) -> Iterator[Problem]:
    listed = {s.name for s in account.shards} if account else set()
    names = dataset.names()
    for name in names:
        if name.startswith(TEMPORARY):
            yield Problem(name, "temporary file of a run that was killed; the next build removes it")
        elif re.fullmatch(SHARD_PATTERN, name) and name not in listed:
            yield Problem(name, f"shard that {DATASET_FILE} does not list; the next build writes it anew")
        elif name not in {DATASET_FILE, INDEX_FILE, CARD_FILE, *listed}:
            yield Problem(name, "file that does not belong to the dataset")
    for name in sorted(listed - set(names)):
        yield Problem(name, "shard is missing")


def _index(dataset: Folder, account: DatasetFile) -> tuple[dict[str, IndexRow], list[Problem]]:
    try:
        data = dataset.read(INDEX_FILE)
        rows = decode_index(data)
    except FileNotFoundError:
        return {}, [Problem(INDEX_FILE, "is missing")]
    except (*_DAMAGE, DatasetError) as error:
        return {}, [Problem(INDEX_FILE, one_line(error))]
    problems = []
    if hashlib.sha256(data).hexdigest() != account.index_sha256:
        problems.append(Problem(INDEX_FILE, f"is not the file that {DATASET_FILE} was written with"))
    doubled = [key for key, n in Counter(r.key for r in rows).items() if n > 1]
    problems += [Problem(INDEX_FILE, "has several rows", key) for key in sorted(doubled)]
    return {r.key: r for r in rows}, problems


def _counts(account: DatasetFile, rows: dict[str, IndexRow]) -> Iterator[Problem]:
    samples = sum(s.samples for s in account.shards)
    wanted = {
        "samples": samples,
        "shards": len(account.shards),
        "bytes": sum(s.bytes for s in account.shards),
        "train": sum(s.samples for s in account.shards if s.split == "train"),
        "val": sum(s.samples for s in account.shards if s.split == "val"),
    }
    if len(rows) == samples:
        wanted["instances"] = sum(r.instances for r in rows.values())
        wanted["interactions"] = sum(r.interactions for r in rows.values())
        wanted["frames"] = sum(r.frames for r in rows.values())
    for name, value in wanted.items():
        if getattr(account.counts, name) != value:
            yield Problem(DATASET_FILE, f"counts {getattr(account.counts, name)} {name}, there are {value}")


def _shard(
    dataset: Folder,
    shard: ShardInfo,
    account: DatasetFile,
    rows: dict[str, IndexRow],
    seen: Counter[str],
    deep: bool,
) -> Iterator[Problem]:
    """Problems of one shard; its keys are counted in `seen`."""
    try:
        digest, size = _digest(dataset, shard.name)
        if size != shard.bytes:
            yield Problem(shard.name, f"has {size} bytes, {DATASET_FILE} says {shard.bytes}")
        elif digest != shard.sha256:
            yield Problem(shard.name, f"SHA-256 is not the one in {DATASET_FILE}")
        samples = 0
        for raw in read_raw(dataset, shard.name):
            samples += 1
            seen[raw.key] += 1
            yield from (Problem(shard.name, message, raw.key) for message in _entry(raw, shard, account, rows, deep))
        if samples != shard.samples:
            yield Problem(shard.name, f"holds {samples} entries, {DATASET_FILE} says {shard.samples}")
    except FileNotFoundError:
        return  # told by _strays
    except _DAMAGE as error:
        yield Problem(shard.name, f"torn: {one_line(error)}")


def _digest(dataset: Folder, name: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with dataset.open(name) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _entry(
    raw: RawEntry, shard: ShardInfo, account: DatasetFile, rows: dict[str, IndexRow], deep: bool
) -> Iterator[str]:
    try:
        loaded = parse(raw)
    except _DAMAGE as error:
        yield f".json or .tracks.json does not fit the schema: {one_line(error)}"
        return
    sample = loaded.sample
    yield from _same_clip(raw, loaded, account)
    share = account.settings.get("val_share")
    if isinstance(share, int | float) and split_of(raw.key, share) != shard.split:
        yield f"belongs to the other split than {shard.split}"
    row = rows.get(raw.key)
    if row is None:
        yield f"has no row in {INDEX_FILE}"
    elif sample.clip_id == raw.key and row != IndexRow.of(sample, shard.name, shard.split, raw.offset, raw.size):
        yield f"its row in {INDEX_FILE} says otherwise"
    yield from _spans(sample)
    yield from _tracks(sample, loaded.tracks)
    if deep:
        yield from _clip(sample, raw.files["mp4"])
        yield from _map(loaded, raw.files["idmap.png"])


def _same_clip(raw: RawEntry, loaded: Loaded, account: DatasetFile) -> Iterator[str]:
    sample = loaded.sample
    if sample.clip_id != raw.key:
        yield f".json is of clip {sample.clip_id}"
    if sample.schema_version != account.schema_version:
        yield f".json has schema version {sample.schema_version}, the dataset {account.schema_version}"
    if raw.files["txt"] != sample.caption.encode():
        yield ".txt is not the caption of the .json"
    if hashlib.sha256(raw.files["mp4"]).hexdigest() != sample.provenance.media_digest:
        yield ".mp4 is not the clip that the .json was made from"
    made = dict(part.partition("=")[::2] for part in sample.provenance.fingerprints)
    if made != account.fingerprints:
        yield "was made under other fingerprints than the dataset"


def _spans(sample: Sample) -> Iterator[str]:
    """Spans against the text. Their bounds are part of the schema."""
    caption = sample.caption
    for act in sample.interactions:
        for role in ("subject", "verb", "object"):
            spans = getattr(act.spans, role)
            if any(caption[s.start : s.end].strip() != caption[s.start : s.end] for s in spans):
                yield f"{act.text}: a span of its {role} begins or ends with space"
            elif any(_within_word(caption, place) for s in spans for place in (s.start, s.end)):
                yield f"{act.text}: a span of its {role} cuts a word"
            if any(a.end > b.start for a, b in itertools.pairwise(spans)):
                yield f"{act.text}: spans of its {role} overlap or are out of order"
        if act.source_sentence not in caption:
            yield f"{act.text}: its source sentence is not in the caption"
        if f"<{act.subject}>" not in act.text or f"<{act.object}>" not in act.text:
            yield f"{act.text}: is not about <{act.subject}> and <{act.object}>"


def _within_word(text: str, place: int) -> bool:
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


def _tracks(sample: Sample, tracks: TrackFile) -> Iterator[str]:
    if tracks.size != (sample.height, sample.width):
        yield f"tracks are {tracks.size[1]} x {tracks.size[0]}, the clip {sample.width} x {sample.height}"
        return
    if set(tracks.tracks) != {i.id for i in sample.instances}:
        yield "tracks and instances do not name the same IDs"
    for name, masks in tracks.tracks.items():
        if len(masks) != sample.frames:
            yield f"{name} has {len(masks)} masks for {sample.frames} frames"
        if all(m is None for m in masks):
            yield f"{name} has no mask at all"
        for t, mask in enumerate(masks):
            if mask is None:
                continue
            try:
                if mask.size != tracks.size:
                    raise ValueError(f"is {mask.size[1]} x {mask.size[0]}")
                run_lengths(mask.counts, *tracks.size)
            except ValueError as error:
                yield f"mask of {name} at frame {t}: {one_line(error)}"
                break


def _clip(sample: Sample, mp4: bytes) -> Iterator[str]:
    """Decode the clip, never further than one frame beyond what it should have."""
    frames = 0
    try:
        with av.open(io.BytesIO(mp4), mode="r", format="mp4") as container:
            stream = container.streams.video[0]
            if (stream.width, stream.height) != (sample.width, sample.height):
                yield f".mp4 is {stream.width} x {stream.height}, not {sample.width} x {sample.height}"
                return
            for _ in container.decode(stream):
                frames += 1
                if frames > sample.frames:
                    break
    except (av.FFmpegError, IndexError, *_DAMAGE) as error:
        yield f".mp4 cannot be decoded: {one_line(error)}"
        return
    if frames != sample.frames:
        more = "or more " if frames > sample.frames else ""
        yield f".mp4 has {frames} {more}frames, the .json says {sample.frames}"


def _map(loaded: Loaded, png: bytes) -> Iterator[str]:
    height, width = loaded.tracks.size
    try:
        found = decode_id_map(png, height, width)
        firsts = {k: masks[0] for k, masks in loaded.tracks.tracks.items() if masks and masks[0] is not None}
        first = {k: decode_mask(rle.counts, height, width) for k, rle in firsts.items()}
    except _DAMAGE as error:
        yield f".idmap.png {one_line(error)}"
        return
    if not np.array_equal(found, id_map(first, height, width)):
        yield ".idmap.png does not show the first masks"
