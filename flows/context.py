"""One build: what follows from its settings. Fingerprints, stores, funnel, and what a stage is given to work with.

Everything is opened from settings and `tasks.stages.STAGES` alone, so any process that knows the settings can run any
batch; nothing here loads a model before a stage asks for its engine.
"""

import hashlib
import itertools
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import av

from flows.legs import BATCHED, RECORDED, SPECS
from flows.resume import resume_command
from flows.settings import BuildSettings
from flows.tally import Tally
from schemas import Clip, Reason, Record, Row
from tasks.engines.base import Frames
from tasks.engines.pins import Pins
from tasks.engines.registry import declared_identity, load_engine
from tasks.errors import InfrastructureError, UserError
from tasks.media.clips import read_frames
from tasks.outcome import Case
from tasks.scan.stage import Found, list_files
from tasks.spec import StageSpec
from tasks.stages import STAGES
from tasks.store.fingerprint import fingerprint
from tasks.store.folder import Folder
from tasks.store.places import local_path, local_uri
from tasks.store.rows import StageStore

REPLIES = "replies"
"""Folder below `work` where engines behind a server keep what they were answered."""


class Context:
    """One build, as its stages and whoever looks at it see it. Shared by the threads of a process."""

    def __init__(self, settings: BuildSettings, fingerprints: Mapping[str, str] | None = None) -> None:
        """fingerprints: those on record, for settings that may have been read by another version; else worked out."""
        self.settings = settings
        self.fingerprints = self._work_out_fingerprints() if fingerprints is None else dict(fingerprints)
        self.out = Folder(settings.out)
        self.folder = self.out.below("work")
        self._stores: dict[str, StageStore[Any]] = {}
        self._lock = threading.Lock()
        self._gone: set[str] = set()
        """Clips whose file was missed."""

    def store(self, stage: str) -> StageStore[Any]:
        with self._lock:
            if stage not in self._stores:
                spec, run = SPECS[stage], self.settings.run
                assert spec.record is not None
                self._stores[stage] = StageStore(
                    self.folder,
                    stage,
                    self.fingerprints[stage],
                    spec.record,
                    spec.link,
                    at_hand=run.workers * run.batch,
                )
            return self._stores[stage]

    def at_work(self, stage: str) -> "StageWork":
        """What the stage is given to work with."""
        return StageWork(self, SPECS[stage])

    def process(self, stage: str, keys: Sequence[str]) -> Iterator[Row[Any]]:
        """Run one batch of a stage and yield its rows; nothing is written here."""
        batch = SPECS[stage].batch
        assert batch is not None
        return batch(self.at_work(stage), keys)

    @property
    def media(self) -> str:
        """Where ingest puts clips, relative to the store's root."""
        return f"ingest/{self.fingerprints['ingest']}/clips"

    @property
    def dataset(self) -> Folder:
        """Where the shards of these settings go."""
        return self.out.below(f"dataset/{self.fingerprints['shard']}")

    def _work_out_fingerprints(self) -> dict[str, str]:
        """Fingerprint per stage, each over its own settings and engines and the one before. Loads and asks nothing."""
        prints: dict[str, str] = {}
        upstream = ""
        for spec in STAGES:
            if spec.version is not None:
                own = self.settings.of(spec.name)
                also = [*spec.also(own), *map(self.declared, spec.engines)]
                upstream = prints[spec.name] = fingerprint(spec.name, spec.version, own, also, upstream)
        return prints

    # engines

    def declared(self, kind: str) -> str:
        """What the settings alone say of an engine."""
        spec = getattr(self.settings.engines, kind)
        return "none" if spec is None else declared_identity(kind, spec)

    def engine(self, kind: str) -> Any:
        """The engine of a kind, made on first use; None where the settings have none."""
        spec = getattr(self.settings.engines, kind)
        return None if spec is None else load_engine(kind, spec, self.folder.below(REPLIES))

    def pins(self, stage: str) -> Pins:
        """Which model answered where the settings leave it open, as that stage put it on record."""
        return Pins(self.folder.below(f"{stage}/{self.fingerprints[stage]}"))

    def make_ready(self, stages: Sequence[str]) -> None:
        """Load what the engines of these stages need, before a clip is touched, and hold it against what is on record.

        UserError says what is wrong.
        """
        for stage in stages:
            for kind in SPECS[stage].engines:
                engine = self.engine(kind)
                if hasattr(engine, "check"):
                    engine.check()
                if engine is not None:
                    self.pins(stage).check(kind, getattr(engine, "resolved", None), begun=len(self.store(stage)) > 0)

    @property
    def models(self) -> dict[str, str]:
        """Per kind of engine which model it is: as the settings name it, and as it was found where they leave it open.

        Needs no engine.
        """
        found = {}
        for spec in STAGES:
            on_record = self.pins(spec.name).read() if spec.engines else {}
            for kind in spec.engines:
                found[kind] = ", ".join([self.declared(kind), *([on_record[kind]] if kind in on_record else [])])
        return found

    # the source

    @cached_property
    def listing(self) -> dict[str, Found]:
        """The files at the source now, by scan key, in name order. UserError where they would include a build's own."""
        source = self.settings.source
        local = local_path(source if "://" in source else local_uri(source))
        if self.out.local and local and Path(self.out.root).resolve().is_relative_to(local.resolve()):
            raise self._own_clips(f"lies inside the source {source}")
        found = {f.key: f for f in list_files(source, self.settings.scan)}
        if self.out.local and local:
            work = Path(self.folder.root).resolve()
            folders = {path.parent for f in found.values() if (path := local_path(f.uri))}
            if any(folder.resolve().is_relative_to(work) for folder in folders):
                raise self._own_clips(f"is reached from the source {source}, by its name or by a link")
        return found

    def _own_clips(self, how: str) -> UserError:
        return UserError(
            f"the out folder {self.out.root} {how}, and its clips would be taken for raw videos: "
            "give an --out elsewhere"
        )

    # the funnel

    def arrived(self, stage: str) -> list[str]:
        """Keys that the stage before has let through; at the first stage, the files at the source."""
        earlier = [name for name in RECORDED if _place(name) < _place(stage)]
        if not earlier:
            return list(self.listing)
        before = self.store(earlier[-1])
        if before.link:
            return list(before.links())
        # A clip whose source is being made again, or has gone, has no file to work on: it waits out of the funnel.
        source = next((name for name in reversed(earlier) if SPECS[name].link), None)
        return self.store(source).linked(before.accepted()) if source else before.accepted()

    def pending(self, stage: str) -> list[str]:
        """What has arrived at a stage and has no row there."""
        return self.store(stage).pending(self.arrived(stage))

    def ahead(self, stages: Sequence[str] = BATCHED) -> list[str]:
        """Of these stages, from the first one on that has something to do: those after may get it."""
        return list(itertools.dropwhile(lambda stage: not self.pending(stage), stages))

    def tally(self, stage: str, arrived: Collection[str] | None = None) -> Tally:
        """The stage's line in the funnel, from the store alone: looking at a build needs no bucket."""
        store = self.store(stage)
        if arrived is None:
            known = stage != RECORDED[0] or "listing" in self.__dict__
            arrived = self.arrived(stage) if known else []
            if SPECS[stage].own_keys:
                arrived = {*arrived, *store.accepted(), *store.rejected()}
        totals = store.totals(arrived)
        rejected = dict(sorted(totals.rejected.items()))
        return Tally(stage, len(arrived), totals.accepted, rejected, totals.pending, totals.seconds, totals.usage)

    def funnel(self) -> list[Tally]:
        """Every stage's line. A stage where something is lost raises AssertionError."""
        return [self.tally(stage) for stage in RECORDED]

    def meaning(self, stage: str, reason: str) -> str:
        """What a reason code means at a stage."""
        poison = f"it failed in its own way {self.settings.run.max_attempts} times"
        return poison if reason == Reason.POISON else SPECS[stage].rejects.get(Reason(reason), "")

    def remarks(self) -> list[str]:
        """What the stages have to tell of all their rows together."""
        told = [f"{name}: {line}" for name in RECORDED for line in SPECS[name].remarks(self.store(name))]
        accepted = self.store("dedupe").accepted()
        if away := len(accepted) - len(self.store("ingest").linked(accepted)):
            told.append(f"ingest: {away} clips on record wait for their video to be cut again, or it is gone")
        return [*told, *self.damaged()]

    # clips

    def clips(self, clip_ids: Sequence[str]) -> list[Clip]:
        """The clips, in the order of their IDs. KeyError for one that no source leads to."""
        ingest = self.store("ingest")
        found = {c.clip_id: c for made in ingest.payloads(ingest.leading_to(clip_ids)) for c in made.clips}
        return [found[clip_id] for clip_id in clip_ids]

    def cases(self, clip_ids: Sequence[str], needs: Sequence[type[Record]]) -> list[Case]:
        """The clips with these results, which all of them must have, in the order of `clip_ids`."""
        results = [self.store(_stage_of(kind)).payloads(clip_ids) for kind in needs]
        return [Case(clip, tuple(found[i] for found in results)) for i, clip in enumerate(self.clips(clip_ids))]

    def reached(self, clip_id: str) -> Case:
        """The clip with the results of all stages that accepted it."""
        (clip,) = self.clips([clip_id])
        stores = [self.store(stage) for stage in RECORDED if SPECS[stage].unit == "clips"]
        return Case(clip, tuple(s.payloads([clip_id])[0] for s in stores if s.accepted_of([clip_id])))

    def frames(self, case: Case) -> Frames:
        """All frames of the clip, RGB uint8 [T, H, W, 3]. InfrastructureError for a file that ingest did not write."""
        try:
            with self.folder.open(case.clip.path) as stream:
                return read_frames(stream)
        except (FileNotFoundError, av.FFmpegError):
            if self._is_whole(case.clip):
                raise
        self._gone.add(case.clip.clip_id)
        raise InfrastructureError(f"{case.clip.path} is gone or damaged: the next build makes it again")

    def _is_whole(self, clip: Clip) -> bool:
        try:
            return hashlib.sha256(self.folder.read(clip.path)).hexdigest() == clip.media_digest
        except FileNotFoundError:
            return False

    def mend(self) -> list[str]:
        """Put away damaged parts, and rows of clips whose files are gone, so that a build does them anew.

        Returns what was found, one line each. Only under the build's lock.
        """
        found = [line for stage in RECORDED for line in self.store(stage).mend()]
        ingest = self.store("ingest")
        if gone := sorted(self._gone & ingest.links().keys()):
            ingest.forget(ingest.leading_to(gone))
        self._gone.clear()
        return found

    def damaged(self) -> list[str]:
        """Parts that could not be read, one line each: their clips count as pending until a build mends them."""
        return [why for stage in RECORDED for why in self.store(stage).damaged.values()]


class StageWork:
    """One stage at work in one build (`tasks.spec.Work`)."""

    def __init__(self, context: Context, spec: StageSpec) -> None:
        self.context, self.spec = context, spec
        self.build, self.out, self.folder = context.settings, context.out, context.folder
        self.settings = context.settings.of(spec.name)
        self.fingerprints, self.media, self.dataset = context.fingerprints, context.media, context.dataset
        self.frames, self.funnel, self.meaning = context.frames, context.funnel, context.meaning

    @property
    def listing(self) -> Mapping[str, Found]:
        return self.context.listing

    @property
    def models(self) -> Mapping[str, str]:
        return self.context.models

    @property
    def remarks(self) -> Sequence[str]:
        return self.context.remarks()

    @property
    def resume(self) -> str:
        return resume_command(self.build)

    def engine(self, kind: str) -> Any:
        if kind not in self.spec.engines:
            raise ValueError(f"the stage {self.spec.name} does not declare that it asks a {kind}")
        return self.context.engine(kind)

    def store(self, stage: str | None = None) -> StageStore[Any]:
        return self.context.store(stage or self.spec.name)

    def arrived(self) -> list[str]:
        return self.context.arrived(self.spec.name)

    def cases(self, keys: Sequence[str]) -> list[Case]:
        return self.context.cases(keys, self.spec.needs)


def _place(stage: str) -> int:
    return STAGES.index(SPECS[stage])


def _stage_of(kind: type[Record]) -> str:
    return next(spec.name for spec in STAGES if spec.record is kind)
