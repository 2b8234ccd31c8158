"""One chunk of a build: its rows at the stages that go through it, and at the one that cut it. No more is opened."""

import errno
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import av

from flows.legs import CUTTER, SPECS, before
from flows.tally import Tally
from schemas import Clip, Deduped, Record, Row
from tasks.engines.base import Frames
from tasks.errors import InfrastructureError
from tasks.media.clips import read_frames
from tasks.outcome import Case
from tasks.scan.cutting import files_of
from tasks.scan.listing import Found
from tasks.spec import StageSpec
from tasks.stages import STAGES
from tasks.store.database import Database
from tasks.store.rows import StageStore

if TYPE_CHECKING:
    from flows.context import Context

REPLIES = "replies"
"""Folder below `work`: what engines behind a server were answered, a database a stage and chunk. Other settings of the
stage find there what they have in common with these."""


class Chunk:
    """Shared by the threads that work on it. Who writes holds the lease of the stage's chunk."""

    def __init__(self, context: "Context", name: str) -> None:
        self.context, self.name = context, name
        self.gone = dict[str, Clip]()
        """Clips whose file was missed."""
        self._stores: dict[str, StageStore[Any]] = {}
        self._replies: dict[str, Database] = {}
        self._lock = threading.Lock()

    def store(self, stage: str) -> StageStore[Any]:
        """The chunk's rows at a stage; opened on first use."""
        with self._lock:
            if stage not in self._stores:
                run = self.context.settings.run
                self._stores[stage] = self.context.open(stage, self.name, at_hand=run.workers * run.batch)
            return self._stores[stage]

    def replies(self, stage: str) -> Database:
        """What models behind a server have answered for the chunk at a stage; opened by the first question."""
        with self._lock:
            if stage not in self._replies:
                self._replies[stage] = Database(self.context.folder.below(f"{REPLIES}/{stage}/{self.name}"))
            return self._replies[stage]

    def close_replies(self, gather: bool = True) -> list[str]:
        """Leave whole files behind (`Database.close`); a line for each that was damaged."""
        told = []
        for stage, database in self._replies.items():
            database.close(gather)
            told += [f"{stage}: {line}" for line in database.told]
            database.told = []
        return told

    def opened(self, stage: str) -> bool:
        """Whether the chunk's rows at a stage have been looked at."""
        return stage in self._stores

    def refresh(self) -> None:
        """Take in what other processes have written."""
        for store in self._stores.values():
            store.refresh()

    def at_work(self, stage: str) -> "ChunkWork":
        """What the stage is given to work with."""
        return ChunkWork(self, SPECS[stage])

    def process(self, stage: str, keys: Sequence[str]) -> Iterator[Row[Any]]:
        """Run one batch of a stage and yield its rows; nothing is written here."""
        batch = SPECS[stage].batch
        assert batch is not None
        return batch(self.at_work(stage), keys)

    @cached_property
    def listing(self) -> dict[str, Found]:
        """At scan: the chunk's files, by scan key."""
        return {file.key: file for file in files_of(self.context.folder.below(self.context.place("scan", self.name)))}

    def arrived(self, stage: str) -> list[str]:
        """Keys that the stage before has let through into this chunk, sorted."""
        earlier = before(stage)
        if earlier is None:
            return sorted(self.listing)
        store = self.store(earlier)
        return list(store.links()) if store.link else store.accepted()

    def pending(self, stage: str) -> list[str]:
        """What has arrived and has no row, sorted."""
        return self.store(stage).pending(self.arrived(stage))

    def tally(self, stage: str) -> Tally:
        """The stage's line over this chunk."""
        arrived = self.arrived(stage)
        return Tally.of(stage, self.store(stage).totals(arrived), len(arrived))

    # clips

    def cases(self, keys: Sequence[str], needs: Sequence[type[Record]]) -> list[Case]:
        """The clips with these results, which all of them must have, in the order of `keys`."""
        clips = self.store(CUTTER["clips"]).payloads(keys)
        results = [clips if kind is Deduped else self.store(_stage_of(kind)).payloads(keys) for kind in needs]
        return [Case(cut.clip, tuple(found[i] for found in results)) for i, cut in enumerate(clips)]

    def reached(self, clip_id: str) -> Case:
        """The clip with the results of all stages that accepted it."""
        (cut,) = self.store(CUTTER["clips"]).payloads([clip_id])
        stores = (self.store(s.name) for s in STAGES if s.record and s.batch and s.unit == "clips")
        return Case(cut.clip, (cut, *(s.payloads([clip_id])[0] for s in stores if s.accepted_of([clip_id]))))

    def frames(self, case: Case) -> Frames:
        """All frames of the clip, RGB uint8 [T, H, W, 3]. InfrastructureError for a file that ingest did not write."""
        try:
            with self.context.folder.open(case.clip.path) as stream:
                return read_frames(stream)
        except (FileNotFoundError, av.FFmpegError):
            self.mp4(case)
            raise

    def mp4(self, case: Case) -> bytes:
        """The clip's file. InfrastructureError where it is not the one that ingest wrote, which makes it again then."""
        path = case.clip.path
        try:
            data = self.context.folder.read(path)
            if hashlib.sha256(data).hexdigest() == case.clip.media_digest:
                return data
        except OSError as error:
            # A bad block is of one file, as one that is gone is.
            if not isinstance(error, FileNotFoundError | IsADirectoryError) and error.errno != errno.EIO:
                raise
        self.gone[case.clip.clip_id] = case.clip
        raise InfrastructureError(f"{path} is gone or damaged: the next build makes it again")


class ChunkWork:
    """One stage at work in one chunk (`tasks.spec.Batch`)."""

    def __init__(self, chunk: Chunk, spec: StageSpec) -> None:
        context = chunk.context
        self._chunk, self._spec, self._context = chunk, spec, context
        self.chunk = chunk.name
        self.build, self.out, self.folder = context.settings, context.out, context.folder
        self.settings = context.settings.of(spec.name)
        self.fingerprints, self.media, self.dataset = context.fingerprints, context.media, context.dataset
        self.frames, self.mp4 = chunk.frames, chunk.mp4

    @property
    def listing(self) -> Mapping[str, Found]:
        return self._chunk.listing

    def engine(self, kind: str) -> Any:
        return self._context.engine_for(self._spec, kind)

    def store(self, stage: str | None = None) -> StageStore[Any]:
        return self._chunk.store(stage or self._spec.name)

    def cases(self, keys: Sequence[str]) -> list[Case]:
        return self._chunk.cases(keys, self._spec.needs)


def _stage_of(kind: type[Record]) -> str:
    return next(spec.name for spec in STAGES if spec.record is kind)
