"""What a stage declares of itself: one `StageSpec` beside its code, one line in `tasks/stages.py`.

Settings, fingerprints, stores, funnel, `status`, `show`, report, run form, flows and the check of docs/reasons.md are
derived from the ordered list of these. docs/extending.md has the recipe.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from schemas import Reason, Record, Row
from schemas.settings import Settings
from tasks.engines.base import Frames
from tasks.outcome import Case
from tasks.store.chunks import StageView
from tasks.store.folder import Folder
from tasks.store.index import Link
from tasks.store.rows import StageStore


class Work(Protocol):
    """One stage at work in one build: what it may use. `flows.context` opens it from the build's settings alone."""

    @property
    def settings(self) -> Any:
        """The stage's own settings."""
        ...

    @property
    def build(self) -> Any:
        """The settings of the whole build (`flows.settings.BuildSettings`), for what stages share, as the source."""
        ...

    @property
    def out(self) -> Folder:
        """The build's out folder; its store lies in `work` below."""
        ...

    @property
    def folder(self) -> Folder:
        """The store's root."""
        ...

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Per stage, in order."""
        ...

    @property
    def dataset(self) -> Folder:
        """Where the shards of these settings go."""
        ...

    def engine(self, kind: str) -> Any:
        """The engine of a kind that the spec names; None where the settings have none."""
        ...


class Batch(Work, Protocol):
    """A stage at work on some keys of one chunk. It sees the rows of that chunk and no others."""

    @property
    def chunk(self) -> str:
        """The chunk's name."""
        ...

    @property
    def listing(self) -> Mapping[str, Any]:
        """At scan: the chunk's files as they were listed (`tasks.scan.stage.Found`), by scan key."""
        ...

    @property
    def media(self) -> str:
        """Where clips lie, relative to `folder`."""
        ...

    def store(self, stage: str | None = None) -> StageStore[Any]:
        """The chunk's rows of the stage itself, or of one before it."""
        ...

    def cases(self, keys: Sequence[str]) -> list[Case]:
        """The clips, each with the results that the spec `needs`, in the order of `keys`."""
        ...

    def frames(self, case: Case) -> Frames:
        """All frames of a clip, RGB uint8 [T, H, W, 3]. InfrastructureError where ingest has to make its file again."""
        ...

    def mp4(self, case: Case) -> bytes:
        """The clip's file, as ingest wrote it. InfrastructureError where ingest has to make it again."""
        ...


class Whole(Work, Protocol):
    """A stage at work on everything, alone."""

    def store(self, stage: str | None = None) -> StageView[Any]:
        """All rows of the stage itself, or of one before it."""
        ...

    def listed(self) -> Iterator[Any]:
        """All files that were ever listed at the source (`tasks.scan.stage.Found`)."""
        ...

    @property
    def models(self) -> Mapping[str, str]:
        """Which model answered, per kind of engine that was asked, as far as it is on record."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """What the stages have to tell of all their rows together."""
        ...

    @property
    def resume(self) -> str:
        """The command that goes on with this build."""
        ...

    def meaning(self, stage: str, reason: str) -> str:
        """What a reason code means at a stage."""
        ...

    def funnel(self) -> Sequence[Any]:
        """The funnel's lines (`flows.tally.Tally`)."""
        ...


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage. It is run `batch` by batch, or as a `whole` that sees everything at once."""

    name: str
    version: int | None = 1
    """Raised when its code writes other rows for the same input. None: what it makes has no fingerprint."""
    settings: type[Settings] = Settings
    record: type[Record] | None = None
    """What an accepted row holds; None for a stage without rows."""
    batch: Callable[[Batch, Sequence[str]], Iterator[Row[Any]]] | None = None
    """One row a key, in any order; rows are written by who calls it. May run in any process that reaches the store."""
    ready: Callable[[Batch, Sequence[str]], Sequence[str]] | None = None
    """Those of a batch's keys that can be done now, where others have to wait for people: these stay pending, and
    nothing has failed."""
    together: bool = False
    """Whether a batch takes all that is pending in a chunk."""
    before: Callable[[Whole], Sequence[str]] | None = None
    after: Callable[[Whole], Sequence[str]] | None = None
    """Of a stage that goes in batches: run alone, over everything, before its first batch and after its last. They
    return what is to be told, one line each."""
    whole: Callable[[Whole], Sequence[str]] | None = None
    """Does all that is pending, writes it in chunks of its own, and returns what is to be told of it, one line each."""
    stale: Callable[[Whole], bool] | None = None
    """Of a stage that sees everything: whether something other than rows asks it to decide anew. Of one with `after`:
    whether what that made is gone, or is not what it was."""
    needs: tuple[type[Record], ...] = ()
    """Records of earlier stages that its cases carry."""
    engines: tuple[str, ...] = ()
    """Kinds of engine (tasks/engines/registry.py) that it asks."""
    also: Callable[[Any], Sequence[str]] = field(default=lambda _: ())
    """From its settings: more that its fingerprint must hold, such as the digest of a file that they name."""
    link: Link | None = None
    """How an accepted row names the keys of the next stage, where those are not its own key."""
    unit: Literal["files", "videos", "clips"] = "clips"
    """What its keys are."""
    rejects: Mapping[Reason, str] = field(default_factory=dict)
    """What each reason code means here. `docs/reasons.md` says in a row each what a user can do."""
    remarks: Callable[[StageView[Any]], list[str]] = field(default=lambda _: [])
    """What is worth telling of all its rows together, one line each, for `status` and the report."""
    lines: Callable[[Any], list[str]] = field(default=lambda _: [])
    """A record for people, for `matrix_data show`."""
    more: Callable[[Any], list[str]] = field(default=lambda _: [])
    """What else is in a record, for `matrix_data show --all`."""

    def __post_init__(self) -> None:
        if self.batch is not None and (self.record is None or self.whole is not None):
            raise ValueError(f"{self.name}: a stage that runs in batches has a record, and does not run as a whole")
