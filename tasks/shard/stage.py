"""Stage `shard`: accepted clips become WebDataset tars, an index and an account of the whole (docs/stages/shard.md).

A shard is a pure function of the records of one chunk: sorted keys, fixed headers, deterministic encoding, and a name
made of its content. Many may write shards side by side; each is written once, so what was downloaded stays valid. Clips
of a chunk that come later go to new shards. What a shard holds stands in the rows of its samples.

`dataset.json` gathers these rows and is written last, so a build that is killed leaves the dataset as it was.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

from pydantic import Field

from schemas import Deduped, Reason, Row, Status
from schemas.dataset import SUFFIXES, IndexRow, Sharded, ShardInfo, Split
from schemas.settings import Settings
from tasks.dataset.split import split_of
from tasks.dataset.tar import TarWriter, padded
from tasks.errors import InfrastructureError
from tasks.outcome import Case
from tasks.shard.account import forget_lost, publish, spoilt
from tasks.shard.entry import RESULTS, Entry, build_entry
from tasks.spec import Batch, StageSpec
from tasks.store.folder import TEMPORARY, Folder
from tasks.store.parts import ROW_GROUP


class ShardSettings(Settings):
    """How samples are spread over shards."""

    val_share: float = Field(
        default=0.05, ge=0, le=1, description="share of videos held out, each with those that look alike"
    )
    max_samples: int = Field(default=512, ge=1, le=100_000, description="most samples in a shard")
    max_mb: int = Field(
        default=512, ge=1, le=100_000, description="most megabytes (10^6) in a shard of several samples"
    )


class OpenShard:
    """One tar in the making."""

    def __init__(self, dest: Folder, split: Split, chunk: str, settings: ShardSettings) -> None:
        self.split, self.chunk, self.settings = split, chunk, settings
        self.ends = ExitStack()
        self.tar: TarWriter
        self.tar = TarWriter(self.ends.enter_context(dest.create(self.name, mark=f"{split}-{chunk}")))
        self.ends.enter_context(self.tar)
        self.began = time.perf_counter()
        self.held: list[tuple[Entry, int, int]] = []

    def name(self) -> str:
        """Known when all is written."""
        return f"{self.split}-{self.chunk}-{self.tar.sha256[:16]}.tar"

    def fits(self, entry: Entry) -> bool:
        """Whether one more goes in. The first always does."""
        grown = self.tar.size + sum(padded(len(data)) for data in entry.files.values())
        few = len(self.held) < self.settings.max_samples and grown <= self.settings.max_mb * 1_000_000
        return not self.held or few

    def add(self, entry: Entry) -> None:
        offset = self.tar.size
        for suffix in SUFFIXES:
            self.tar.add(f"{entry.sample.clip_id}.{suffix}", entry.files[suffix])
        # What the row says of a sample is small, its files are not.
        self.held.append((replace(entry, files={}), offset, self.tar.size - offset))

    def close(self) -> Iterator[Row[Sharded]]:
        """Put the shard in its place, then the rows of its samples."""
        self.ends.close()
        info = ShardInfo(
            name=self.name(), split=self.split, samples=len(self.held), bytes=self.tar.size, sha256=self.tar.sha256
        )
        seconds = (time.perf_counter() - self.began) / len(self.held)
        for entry, offset, size in self.held:
            row = IndexRow.of(entry.sample, info.name, self.split, offset, size)
            payload = Sharded(row=row, shard=info)
            yield Row(key=row.key, status=Status.ACCEPTED, seconds=seconds, payload=payload)

    def drop(self, error: BaseException) -> None:
        """Leave nothing of it."""
        self.ends.__exit__(type(error), error, None)


class OpenShards:
    """A chunk's unfinished shard of each split: a context, whose error leaves none of them behind."""

    def __init__(self, dest: Folder, chunk: str, settings: ShardSettings) -> None:
        self.dest, self.chunk, self.settings = dest, chunk, settings
        self._open: dict[Split, OpenShard] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            for unfinished in self._open.values():
                unfinished.drop(error)

    def add(self, split: Split, entry: Entry) -> Iterator[Row[Sharded]]:
        """Rows of the shard that had no room left for it, which is whole now."""
        if split in self._open and not self._open[split].fits(entry):
            yield from self._open.pop(split).close()
        if split not in self._open:
            self._open[split] = OpenShard(self.dest, split, self.chunk, self.settings)
        self._open[split].add(entry)

    def close(self) -> Iterator[Row[Sharded]]:
        """Rows of all that are still open."""
        for split in sorted(self._open):
            yield from self._open.pop(split).close()


def shard(
    cases: Iterable[Case],
    mp4_of: Callable[[Case], bytes],
    dest: Folder,
    chunk: str,
    settings: ShardSettings,
    fingerprints: Mapping[str, str],
) -> Iterator[Row[Sharded]]:
    """Write the clips, in their order, into shards of `dest`; a shard's rows come when it is whole and in its place.

    A clip whose video looks like one on the other side of the split is rejected. `mp4_of` raises InfrastructureError
    for a clip that ingest has to make again: the others are gone on with, and the first such error ends the whole.
    """
    lost: list[InfrastructureError] = []
    with OpenShards(dest, chunk, settings) as shards:
        for case in cases:
            kin = case.of(Deduped)
            split = split_of(kin.group, settings.val_share)
            apart = [group for group in kin.near if split_of(group, settings.val_share) != split]
            if apart:
                detail = f"its video is near to {apart[0]}, which is on the other side of the split, and to {kin.group}"
                yield Row(key=case.clip.clip_id, status=Status.REJECTED, reason=Reason.NEAR_HELD_OUT, detail=detail)
                continue
            try:
                mp4 = mp4_of(case)
            except InfrastructureError as error:
                lost.append(error)
                continue
            entry = build_entry(case, fingerprints)
            yield from shards.add(split, replace(entry, files={"mp4": mp4, **entry.files}))
        yield from shards.close()
    if lost:
        raise lost[0]


def _batch(work: Batch, keys: Sequence[str]) -> Iterator[Row[Sharded]]:
    def cases() -> Iterator[Case]:
        for i in range(0, len(keys), ROW_GROUP):  # which are read together in any case
            yield from work.cases(keys[i : i + ROW_GROUP])

    listed = {row["payload"]["shard"]["name"] for row in work.store().columns(["payload.shard.name"]) if row["payload"]}
    _clean(work.dataset, work.chunk, listed)
    return shard(cases(), work.mp4, work.dataset, work.chunk, work.settings, work.fingerprints)


def _clean(dest: Folder, chunk: str, listed: set[str]) -> None:
    """Remove what killed runs left of a chunk: temporary files, and shards whose rows are not on record."""
    for name in dest.names():
        unfinished = name.startswith(TEMPORARY) and name.endswith((f"-train-{chunk}", f"-val-{chunk}"))
        if unfinished or (name.startswith((f"train-{chunk}-", f"val-{chunk}-")) and name not in listed):
            dest.remove(name)


SPEC = StageSpec(
    name="shard",
    version=3,
    settings=ShardSettings,
    record=Sharded,
    batch=_batch,
    together=True,
    needs=RESULTS,
    before=forget_lost,
    after=publish,
    stale=spoilt,
    rejects={Reason.NEAR_HELD_OUT: "it is near to a held-out video and to one trained on"},
)
