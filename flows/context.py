"""One build: what follows from its settings. Fingerprints, stores, engines, and what a whole stage gets to work with.

Everything is opened from settings and `tasks.stages.STAGES` alone, so any process that knows the settings can run any
batch; nothing here loads a model before a stage asks for its engine, and nothing keeps what another process may change.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from flows.chunk import REPLIES, Chunk
from flows.legs import CUTTER, RECORDED, SPECS
from flows.resume import resume_command
from flows.settings import BuildSettings
from flows.survey import Survey
from flows.tally import Tally
from schemas import Reason
from tasks.engines.pins import Pins
from tasks.engines.registry import declared_identity, load_engine
from tasks.errors import UserError
from tasks.scan.cutting import listing_of
from tasks.scan.listing import Found, list_files
from tasks.spec import StageSpec
from tasks.stages import STAGES
from tasks.store.chunks import StageView
from tasks.store.fingerprint import fingerprint
from tasks.store.folder import Folder
from tasks.store.lease import Lease, lease
from tasks.store.places import local_path, local_uri
from tasks.store.rows import StageStore

CLIPS, MARKS = "clips", "marks"
"""Folders below `work`: the normalised clips, and over which state of the store a stage without rows was run last."""


class Context:
    """One build, as its stages and whoever looks at it see it. Shared by the threads of a process."""

    def __init__(self, settings: BuildSettings, fingerprints: Mapping[str, str] | None = None) -> None:
        """fingerprints: those on record, for settings that may have been read by another version; else worked out."""
        self.settings = settings
        self.fingerprints = self._work_out_fingerprints() if fingerprints is None else dict(fingerprints)
        self.out = Folder(settings.out)
        self.folder = self.out.below("work")

    def place(self, stage: str, chunk: str = "") -> str:
        """The folder of a stage, or of one of its chunks, below the store's root."""
        return "/".join(filter(None, (stage, self.fingerprints.get(stage), chunk)))

    def open(self, stage: str, chunk: str, at_hand: int = 0) -> StageStore[Any]:
        """The rows of a chunk at a stage, as they are now."""
        spec = SPECS[stage]
        assert spec.record is not None
        return StageStore(self.folder, self.place(stage, chunk), spec.record, spec.link, at_hand)

    def store(self, stage: str) -> StageView[Any]:
        """All rows of a stage, as they are now."""
        spec = SPECS[stage]
        assert spec.record is not None
        return StageView(self.folder, self.place(stage), spec.record, spec.link)

    def survey(self) -> Survey:
        """What stands in the store now."""
        return Survey(self)

    def lease(self, stage: str, chunk: str = "") -> AbstractContextManager[Lease | None]:
        """The right to write a chunk's rows at a stage, or to run a whole stage; None where another has it."""
        return lease(self.folder, self.place(stage, chunk))

    def at_work(self, stage: str) -> "WholeWork":
        """What a stage is given that works on everything."""
        return WholeWork(self, SPECS[stage])

    @property
    def media(self) -> str:
        """Where ingest puts clips, relative to the store's root."""
        return f"{CLIPS}/{self.fingerprints['ingest']}"

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

    def engine_for(self, spec: StageSpec, kind: str) -> Any:
        """The engine of a kind, for a stage that declares that it asks one."""
        if kind not in spec.engines:
            raise ValueError(f"the stage {spec.name} does not declare that it asks a {kind}")
        return self.engine(kind)

    def make_ready(self, stages: Sequence[str], begun: Callable[[str], bool]) -> None:
        """Load what the engines of these stages need, before a clip is touched, and hold it against what is on record.

        begun: whether a stage has rows. UserError says what is wrong.
        """
        for stage in stages:
            for kind in SPECS[stage].engines:
                engine = self.engine(kind)
                if hasattr(engine, "check"):
                    engine.check()
                if engine is not None:
                    self.pins(stage).check(kind, getattr(engine, "resolved", None), begun=begun(stage))
            if self.settings.run.stage_by_stage:
                self.release(stage)

    def release(self, stage: str) -> None:
        """Let go of the models that a stage has asked; who asks them again waits until they are loaded."""
        for kind in SPECS[stage].engines:
            engine = self.engine(kind)
            if hasattr(engine, "release"):
                engine.release()
        gc.collect()  # models refer to themselves

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

    def list_source(self) -> Iterator[Found]:
        """The files at the source now, in name order. UserError where they include a build's own."""
        source = self.settings.source
        local = local_path(source if "://" in source else local_uri(source))
        if self.out.local and local and Path(self.out.root).resolve().is_relative_to(local.resolve()):
            raise self._own_clips(f"lies inside the source {source}")
        found = list_files(source, self.settings.scan)
        return self._none_of_our_own(found) if self.out.local and local else found

    def _none_of_our_own(self, found: Iterator[Found]) -> Iterator[Found]:
        work, checked = Path(self.folder.root).resolve(), set[str]()
        for file in found:
            folder = file.uri.rpartition("/")[0]
            if folder not in checked:
                checked.add(folder)
                path = local_path(file.uri)
                if path and path.parent.resolve().is_relative_to(work):
                    raise self._own_clips(
                        f"is reached from the source {self.settings.source}, by its name or by a link"
                    )
            yield file

    def _own_clips(self, how: str) -> UserError:
        return UserError(
            f"the out folder {self.out.uri} {how}, and its clips would be taken for raw videos: give an --out elsewhere"
        )

    # looking

    def funnel(self) -> list[Tally]:
        """Every stage's line. A stage where something is lost raises AssertionError."""
        return self.survey().funnel()

    def meaning(self, stage: str, reason: str) -> str:
        """What a reason code means at a stage."""
        poison = f"it failed in its own way {self.settings.run.max_attempts} times"
        return poison if reason == Reason.POISON else SPECS[stage].rejects.get(Reason(reason), "")

    def remarks(self) -> list[str]:
        """What the stages have to tell of all their rows together, and what could not be read of them."""
        told, damaged = [], []
        for name in RECORDED:
            rows = self.store(name)
            told += [f"{name}: {line}" for line in SPECS[name].remarks(rows)]
            damaged += rows.damaged
        return [*told, *damaged]

    def find(self, clip_id: str) -> Chunk | None:
        """The chunk that a clip is in; None where it is in none yet."""
        rows = self.store(CUTTER["clips"])
        return Chunk(self, rows.chunk_of(clip_id)) if clip_id in rows else None


class WholeWork:
    """One stage at work on everything (`tasks.spec.Whole`)."""

    def __init__(self, context: Context, spec: StageSpec) -> None:
        self._context, self._spec = context, spec
        self.build, self.out, self.folder = context.settings, context.out, context.folder
        self.settings = context.settings.of(spec.name)
        self.fingerprints, self.dataset = context.fingerprints, context.dataset
        self.funnel, self.meaning = context.funnel, context.meaning

    def listed(self) -> Iterator[Found]:
        return listing_of(self._context.folder.below(self._context.place("scan")))

    @property
    def models(self) -> Mapping[str, str]:
        return self._context.models

    @property
    def remarks(self) -> Sequence[str]:
        return self._context.remarks()

    @property
    def resume(self) -> str:
        return resume_command(self.build)

    def engine(self, kind: str) -> Any:
        return self._context.engine_for(self._spec, kind)

    def store(self, stage: str | None = None) -> StageView[Any]:
        return self._context.store(stage or self._spec.name)
