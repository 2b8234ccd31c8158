"""The stages of a build in order: their fingerprints, their stores, and how each is called.

A new stage is one task module and its name, payload and call here. Everything is opened from settings alone, so any
process that knows the settings can run any batch.
"""

import json
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.settings import BuildSettings
from schemas import (
    Captioned,
    Curated,
    Deduped,
    Grounded,
    Ingested,
    Record,
    Row,
    SourceFile,
    SourceVideo,
    Tracked,
    Usage,
)
from schemas.settings import Settings, validate
from tasks.caption.stage import caption, prompts_version
from tasks.curate.stage import curate
from tasks.engines.base import Frames
from tasks.engines.registry import load_engine
from tasks.errors import UserError
from tasks.ingest.stage import ingest
from tasks.media.clips import read_frames
from tasks.outcome import Case
from tasks.scan.stage import Found, hash_files, list_files
from tasks.store.fingerprint import fingerprint
from tasks.store.folder import Folder
from tasks.store.index import Link
from tasks.store.places import local_path, local_uri
from tasks.store.rows import StageStore
from tasks.track.stage import track
from tasks.verify.stage import ground

VERSIONS = {
    "scan": 1,
    "select": 1,
    "ingest": 2,
    "dedupe": 1,
    "caption": 1,
    "ground": 1,
    "track": 2,
    "curate": 4,
    "shard": 1,
}
"""Code version per stage: raise one when its code writes other rows for the same input."""

CHAIN = ("caption", "ground", "track", "curate")
"""The stages that clips go through batch by batch, none waiting for all of another."""

ENGINES = {"caption": ("language", "captioner"), "ground": ("detector", "verifier"), "track": ("tracker",)}
"""Which engines a stage asks."""

STAGES = ("scan", "select", "ingest", "dedupe", *CHAIN)

FIELDS = {"caption": "captioned", "ground": "grounded", "track": "tracked", "curate": "curated"}
"""Where each chain stage's record stands in a `Case`."""

BUILD_FILE = "build.json"

REPLIES = "replies"
"""Folder below `work` where engines behind a server keep what they were answered."""

PAYLOADS: dict[str, type[Record]] = {
    "scan": SourceFile,
    "select": SourceVideo,
    "ingest": Ingested,
    "dedupe": Deduped,
    "caption": Captioned,
    "ground": Grounded,
    "track": Tracked,
    "curate": Curated,
}

LINKS = {
    "select": Link("payload.source_id", lambda payload: [payload["source_id"]]),
    "ingest": Link(
        "payload.clips.list.element.clip_id", lambda payload: [clip["clip_id"] for clip in payload["clips"]]
    ),
}
"""A source's row is keyed by its file and leads to the content; a content's row leads to its clips."""


@dataclass(frozen=True)
class Tally:
    """A stage's line in the funnel. `arrived = accepted + rejected + pending`, always."""

    stage: str
    arrived: int
    accepted: int
    rejected: dict[str, int]
    pending: int
    seconds: float
    usage: Usage | None = None

    def __post_init__(self) -> None:
        done = self.accepted + sum(self.rejected.values())
        if self.arrived != done + self.pending:
            raise AssertionError(f"{self.stage}: {self.arrived} in, but {done} done and {self.pending} pending")


class Plan:
    """Everything about one build that follows from its settings. Shared by the threads of a process."""

    def __init__(self, settings: BuildSettings, fingerprints: dict[str, str] | None = None) -> None:
        """fingerprints: those on record, so that looking at a build needs no engine; else they are worked out."""
        self.settings = settings
        if fingerprints is not None:
            self.__dict__["fingerprints"] = fingerprints
        self.out = Folder(settings.out)
        self.work = self.out.below("work")
        self._stores: dict[str, StageStore[Any]] = {}
        self._lock = threading.Lock()

    def engine(self, kind: str) -> Any:
        spec = getattr(self.settings.engines, kind)
        return None if spec is None else load_engine(kind, spec, self.work.below(REPLIES))

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint per stage, each over its own settings and engines and the one before."""
        s = self.settings
        # What is listed and how captions are matched decides which files come in, not what a file's row says.
        own: dict[str, tuple[Settings, list[str]]] = {
            "scan": (Settings(), []),
            "select": (Settings(), []),
            "ingest": (s.ingest, []),
            "dedupe": (s.dedupe, []),
            "caption": (s.caption, [prompts_version(s.caption.prompts), *self._identities("caption")]),
            "ground": (s.ground, self._identities("ground")),
            "track": (s.track, self._identities("track")),
            "curate": (s.curate, []),
            "shard": (s.shard, []),
        }
        prints: dict[str, str] = {}
        upstream = ""
        for stage, (settings, engines) in own.items():
            upstream = prints[stage] = fingerprint(stage, VERSIONS[stage], settings, engines, upstream)
        return prints

    def _identities(self, stage: str) -> list[str]:
        engines = [self.engine(kind) for kind in ENGINES[stage]]
        return ["none" if e is None else str(e.identity) for e in engines]

    def make_ready(self, stages: Sequence[str]) -> None:
        """Load what the engines of these stages need, before a clip is touched. UserError says what is wrong."""
        for kind in (kind for stage in stages for kind in ENGINES.get(stage, ())):
            engine = self.engine(kind)
            if hasattr(engine, "check"):
                engine.check()

    def store(self, stage: str) -> StageStore[Any]:
        with self._lock:
            if stage not in self._stores:
                run = self.settings.run
                self._stores[stage] = StageStore(
                    self.work,
                    stage,
                    self.fingerprints[stage],
                    PAYLOADS[stage],
                    LINKS.get(stage),
                    at_hand=run.workers * run.batch,
                )
            return self._stores[stage]

    @property
    def media(self) -> str:
        """Where ingest puts clips, relative to the store's root."""
        return f"ingest/{self.fingerprints['ingest']}/clips"

    @property
    def dataset(self) -> str:
        """Where the shards of these settings go, relative to `out`."""
        return f"dataset/{self.fingerprints['shard']}"

    @cached_property
    def listing(self) -> dict[str, Found]:
        """The files at the source now, by scan key, in name order. UserError where they would include a build's own."""
        source = self.settings.source
        local = local_path(source if "://" in source else local_uri(source))
        if self.out.local and local and Path(self.out.root).resolve().is_relative_to(local.resolve()):
            raise self._own_clips(f"lies inside the source {source}")
        found = {f.key: f for f in list_files(source, self.settings.scan)}
        if self.out.local and local:
            work = Path(self.work.root).resolve()
            folders = {path.parent for f in found.values() if (path := local_path(f.uri))}
            if any(folder.resolve().is_relative_to(work) for folder in folders):
                raise self._own_clips(f"is reached from the source {source}, by its name or by a link")
        return found

    def _own_clips(self, how: str) -> UserError:
        return UserError(
            f"the out folder {self.out.root} {how}, and its clips would be taken for raw videos: "
            "give an --out elsewhere"
        )

    @property
    def known_listing(self) -> dict[str, Found]:
        """The listing if this process has made it already, so that looking at a store needs no bucket."""
        known: dict[str, Found] = self.__dict__.get("listing", {})
        return known

    def batch_size(self, stage: str) -> int:
        """Keys a batch at `stage`."""
        run = self.settings.run
        return {"scan": run.files_batch, "ingest": run.sources_batch}.get(stage, run.batch)

    # what has arrived

    def upstream(self, stage: str) -> list[str]:
        """Keys that have arrived at a stage: what the one before accepted. Scan and select: flows/progress.py."""
        before = self.store(STAGES[STAGES.index(stage) - 1])
        return list(before.links()) if before.link else before.accepted()

    def tally(self, stage: str, arrived: Collection[str] | None = None) -> Tally:
        """The stage's line in the funnel, from the store alone."""
        store = self.store(stage)
        keys = self.upstream(stage) if arrived is None else arrived
        totals = store.totals(keys)
        rejected = dict(sorted(totals.rejected.items()))
        return Tally(stage, len(keys), totals.accepted, rejected, totals.pending, totals.seconds, totals.usage)

    # what a stage is called with

    def cases(self, clip_ids: Sequence[str], stage: str) -> list[Case]:
        """The clips with the results of all chain stages before `stage`, in the order of `clip_ids`."""
        sources = self.store("ingest").leading_to(clip_ids)
        clips = {c.clip_id: c for made in self.store("ingest").payloads(sources) for c in made.clips}
        earlier = CHAIN[: CHAIN.index(stage)] if stage in CHAIN else CHAIN
        results = {name: self.store(name).payloads(clip_ids) for name in earlier}
        return [
            Case(clip=clips[clip_id], **{FIELDS[name]: results[name][i] for name in earlier})
            for i, clip_id in enumerate(clip_ids)
        ]

    def frames(self, case: Case) -> Frames:
        """All frames of the clip, RGB uint8 [T, H, W, 3]."""
        with self.work.open(case.clip.path) as stream:
            return read_frames(stream)

    def process(self, stage: str, keys: Sequence[str]) -> Iterator[Row[Any]]:
        """Run one batch of a stage and yield its rows; nothing is written here."""
        s = self.settings
        if stage == "scan":
            return hash_files([self.listing[k] for k in keys], s.scan)
        if stage == "ingest":
            select = self.store("select")
            sources = select.payloads(select.leading_to(keys))
            return ingest(sources, self.work, self.media, s.ingest, s.scan.storage_options)
        cases = self.cases(keys, stage)
        if stage == "caption":
            return caption(cases, self.engine("language"), self.engine("captioner"), s.caption, self.frames)
        if stage == "ground":
            return ground(cases, self.frames, self.engine("detector"), self.engine("verifier"), s.ground)
        if stage == "track":
            return track(cases, self.frames, self.engine("tracker"), s.track)
        if stage == "curate":
            return curate(cases, s.curate)
        raise ValueError(f"{stage} is not run in batches")


_plans: dict[str, Plan] = {}
_plans_lock = threading.Lock()


def open_plan(settings: BuildSettings) -> Plan:
    """A fresh plan for a build, saved as `work/build.json` so that workers and later commands find it by the folder."""
    plan = Plan(settings)
    saved = {"settings": settings.model_dump(mode="json"), "fingerprints": plan.fingerprints}
    try:
        plan.work.write(BUILD_FILE, (json.dumps(saved, indent=2) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write to {plan.out.root}: {error.strerror or error}; give another --out") from None
    with _plans_lock:
        _plans[settings.out] = plan
    return plan


def plan_of(out: str) -> Plan:
    """The plan of the build saved under `out`; one per process. UserError where there has been no build."""
    with _plans_lock:
        if out not in _plans:
            work = Folder(out).below("work")
            try:
                saved = json.loads(work.read(BUILD_FILE))
                # A folder may have been moved, or named by another path: what the file says of `out` is history.
                settings = validate(BuildSettings, {**saved["settings"], "out": out})
                prints = {stage: str(saved["fingerprints"][stage]) for stage in VERSIONS}
                if not all(re.fullmatch("[0-9a-f]{12}", value) for value in prints.values()):
                    raise ValueError("not fingerprints")
            except FileNotFoundError:
                raise UserError(f"no build in {out}: run `matrix_data build SOURCE --out {out}` first") from None
            except (ValueError, KeyError, TypeError, RecursionError):
                raise UserError(f"{out}/work/{BUILD_FILE} is damaged: run the build command again") from None
            _plans[out] = Plan(settings, prints)
        return _plans[out]
