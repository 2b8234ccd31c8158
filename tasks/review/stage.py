"""Stage `review`: people's decisions become rows as any other stage's (paper App. A.2; docs/stages/review.md).

A clip that nobody has looked at passes as curate left it, unless the settings say to wait. Decisions hold for the track
that they were made on: a rebuild that tracks otherwise lists them as lapsed. Once a clip is in a shard its row stays;
what people say later travels as a sidecar (tasks/review/sidecar.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, field_validator

from schemas import Captioned, Curated, Reason, Row, Tracked, Verified
from schemas.base import Share
from schemas.review import Reviewed
from schemas.settings import Settings
from tasks.outcome import Case, settle_each
from tasks.review.database import refuse_password
from tasks.review.journal import begun
from tasks.review.rules import Progress
from tasks.review.sidecar import outdated, write_sidecar
from tasks.review.words import NOTHING, Reviewable, Said
from tasks.spec import Batch, StageSpec, Whole
from tasks.store.chunks import StageView
from tasks.store.folder import Folder
from tasks.store.parts import ROW_GROUP


class ReviewSettings(Settings):
    """The human check. What people have decided is always taken."""

    wait: Share = Field(
        default=0.0,
        description="share of a chunk's clips that people must have decided on before the rest may pass; 0: nobody is "
        "waited for, 1: all",
    )
    second_share: Share = Field(default=0.05, description="share of the accepted clips that go to a second person")
    seed: int = Field(default=0, description="draws which clips those are")
    max_same_class_iou: float = Field(
        default=0.5, ge=0, le=1, description="mean IoU from which two accepted tracks of one class are one thing"
    )
    url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="where people find the page of `matrix_data review`, for who looks at a waiting build",
    )

    journal: str | None = Field(
        default=None,
        description="URL of a PostgreSQL for what people decide, postgresql://user@host:port/database; by default an "
        "SQLite file in `work`",
    )

    not_in_rows: ClassVar[frozenset[str]] = frozenset({"url", "journal"})

    @field_validator("journal")
    @classmethod
    def _no_password(cls, journal: str | None) -> str | None:
        return None if journal is None else refuse_password(journal)


def review(cases: Iterable[Case], said_of: Callable[[str], Said], settings: ReviewSettings) -> Iterator[Row[Reviewed]]:
    """One row a clip, in the order of `cases`. A clip without a decision passes as curate left it."""

    def one(case: Case) -> Reviewed:
        clip = Reviewable(case)
        said = said_of(clip.clip)
        outcome = clip.outcome(said, settings.second_share, settings.seed)
        if outcome.word is None:
            return clip.unreviewed(said)
        return clip.reviewed(said, outcome, settings.max_same_class_iou)

    for case in cases:
        yield from settle_each([case], one)


def _batch(work: Batch, keys: Sequence[str]) -> Iterator[Row[Reviewed]]:
    def cases() -> Iterator[Case]:
        for i in range(0, len(keys), ROW_GROUP):  # masks take room: a chunk's are not held at once
            yield from work.cases(keys[i : i + ROW_GROUP])

    return review(cases(), opinions(work.folder, keys, work.settings.journal), work.settings)


def opinions(work: Folder, keys: Iterable[str], url: str | None) -> Callable[[str], Said]:
    """What was said of these clips, by clip; nothing where nobody has begun. url: of the journal's PostgreSQL."""
    with begun(work, url) as journal:
        if journal is None:
            return lambda _: NOTHING
        seen, users = journal.versions(), journal.users()
        said = {key: Said.of(journal, key, users) for key in keys if key in seen}
    return lambda clip: said.get(clip, NOTHING)


def _ready(work: Batch, keys: Sequence[str]) -> list[str]:
    """Those of `keys` that need not wait for people."""
    settings: ReviewSettings = work.settings
    if settings.wait == 0:
        return list(keys)
    arrived = work.store("curate").accepted()
    said_of = opinions(work.folder, arrived, settings.journal)
    looked_at = frozenset(key for key in arrived if said_of(key).patches)

    def decided(key: str) -> bool:
        (case,) = work.cases([key])
        return Reviewable(case).outcome(said_of(key), settings.second_share, settings.seed).word is not None

    people = Progress(settings.wait, len(arrived), frozenset(filter(decided, looked_at)), looked_at)
    return [key for key in keys if people.lets_through(key)]


def _take_up(work: Whole) -> list[str]:
    """Forget rows that people's words of now would change, of clips that are in no shard yet."""
    with begun(work.folder, work.settings.journal) as journal:
        if journal is None:
            return []
        store, sharded = work.store(), work.store("shard")
        known = {row["key"]: (row["payload"] or {}).get("state") for row in store.columns(["payload.state"])}
        changed = {clip for clip in journal.clips() if clip in known and clip not in sharded}
        rejected = {row.key: row.detail for row in store.read([c for c in changed if known[c] is None])}
        stale = [
            clip for clip in changed if not rejected.get(clip, f"[{known[clip]}]").endswith(f"[{journal.state(clip)}]")
        ]
    return [f"{store.forget(stale)} clips are taken up again, for people have said more of them"] if stale else []


def _tell(work: Whole) -> list[str]:
    """Who is waited for, and the labels for what is in shards already."""
    told = []
    if work.settings.wait:
        arrived, done = len(work.store("curate").accepted()), len(work.store())
        if done < arrived:
            where = work.settings.url or f"`matrix_data review {work.build.out}`"
            told.append(
                f"{arrived - done} of {arrived} clips wait for people (review.wait {work.settings.wait:g}): {where}"
            )
    with begun(work.folder, work.settings.journal) as journal:
        labels = write_sidecar(work, journal) if journal else 0
        told += [f"{labels} labels of people lie beside the dataset"] if labels else []
    return told


def _remarks(store: StageView[Reviewed]) -> list[str]:
    by_people, lapsed = 0, list[str]()
    for row in store.columns(["payload.review.list.element.by", "payload.lapsed.list.element"]):
        payload: Mapping[str, Any] = row["payload"] or {}
        by_people += bool(payload.get("review"))
        lapsed += [f"{row['key']} {what}" for what in payload.get("lapsed") or ()]
    told = [f"{by_people} clips as people accepted them"] if by_people else []
    some = "; ".join(lapsed[:5]) + ("; …" if len(lapsed) > 5 else "")
    return told + (
        [f"{len(lapsed)} decisions no longer apply, for their tracks have changed: {some}"] if lapsed else []
    )


def _lines(reviewed: Reviewed) -> list[str]:
    return [f"{one.id}: {one.decision} by {one.by} {one.note}".rstrip() for one in reviewed.review] or ["nobody looked"]


SPEC = StageSpec(
    name="review",
    settings=ReviewSettings,
    record=Reviewed,
    needs=(Captioned, Verified, Tracked, Curated),
    batch=_batch,
    together=True,
    ready=_ready,
    before=_take_up,
    after=_tell,
    stale=outdated,
    rejects={Reason.DROPPED_IN_REVIEW: "people left no triplet with both its tracks"},
    remarks=_remarks,
    lines=_lines,
)
