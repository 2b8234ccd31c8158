"""`matrix_data verify` of a dataset: is it what its account says? Nothing read here is trusted.

Every finding is a `Problem`, one printable line. A file that cannot be read is a finding, never an error.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from schemas.dataset import (
    AUDIT_FILE,
    CARD_FILE,
    DATASET_FILE,
    INDEX_FILE,
    SHARD_PATTERN,
    DatasetFile,
    IndexRow,
    ShardInfo,
)
from schemas.review import REVIEW_FILE
from schemas.text import one_line
from tasks.dataset.check_entry import entry_problems
from tasks.dataset.reader import DatasetError, decode_index, read_dataset, read_raw
from tasks.dataset.tar import TarError
from tasks.store.check import DAMAGE, Problem
from tasks.store.folder import TEMPORARY, Folder

_CHUNK = 1 << 20


def verify(dataset: Folder, deep: bool = True) -> list[Problem]:
    """Problems of a dataset folder; none where it is sound.

    Always: the account, the index, the SHA-256 of every shard, unlisted and temporary files, unique keys, and that the
    entries are those of the index. `deep` also decodes every clip, mask and ID map, about 0.2 s a clip.
    """
    try:
        account = read_dataset(dataset)
    except (*DAMAGE, DatasetError) as error:
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
    problems += _sides(rows.values())
    return problems


def _strays(dataset: Folder, account: DatasetFile | None) -> Iterator[Problem]:
    listed = {s.name for s in account.shards} if account else set()
    names = dataset.names()
    for name in names:
        if name.startswith(TEMPORARY):
            yield Problem(name, "temporary file of a run that was killed; the next build removes it")
        elif re.fullmatch(SHARD_PATTERN, name) and name not in listed:
            yield Problem(name, f"shard that {DATASET_FILE} does not list; the next build writes it anew")
        elif name not in {AUDIT_FILE, DATASET_FILE, INDEX_FILE, CARD_FILE, REVIEW_FILE, *listed}:
            yield Problem(name, "file that does not belong to the dataset")
    for name in sorted(listed - set(names)):
        yield Problem(name, "shard is missing")


def _index(dataset: Folder, account: DatasetFile) -> tuple[dict[str, IndexRow], list[Problem]]:
    try:
        data = dataset.read(INDEX_FILE)
        rows = decode_index(data)
    except FileNotFoundError:
        return {}, [Problem(INDEX_FILE, "is missing")]
    except (*DAMAGE, DatasetError) as error:
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


def _sides(rows: Iterable[IndexRow]) -> Iterator[Problem]:
    """Videos and groups of videos that are trained on and held out."""
    splits: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        groups[row.source_digest].add(row.group)
        for what in (f"source {row.source_digest}", f"group {row.group}"):
            splits[what].add(row.split)
    for what, found in sorted(splits.items()):
        if len(found) > 1:
            yield Problem(INDEX_FILE, f"{what} has samples in {' and '.join(sorted(found))}")
    for source, names in sorted(groups.items()):
        if len(names) > 1:
            yield Problem(INDEX_FILE, f"source {source} is in the groups {', '.join(sorted(names))}")


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
            yield from (
                Problem(shard.name, message, raw.key) for message in entry_problems(raw, shard, account, rows, deep)
            )
        if samples != shard.samples:
            yield Problem(shard.name, f"holds {samples} entries, {DATASET_FILE} says {shard.samples}")
    except FileNotFoundError:
        return  # told by _strays
    except (*DAMAGE, TarError) as error:
        yield Problem(shard.name, f"torn: {one_line(error)}")


def _digest(dataset: Folder, name: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with dataset.open(name) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
