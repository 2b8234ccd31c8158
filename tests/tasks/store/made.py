"""Rows of a stage for tests of the store."""

from collections.abc import Iterator
from contextlib import contextmanager

from schemas import Deduped, Reason, Row, Status
from tasks.store.folder import Folder
from tasks.store.lease import lease
from tasks.store.rows import StageStore
from tests.builders import bare_clip

KEYS = [f"{i:016x}" for i in range(400)]

STAGE = "dedupe/abc123"
CHUNK = f"{STAGE}/00000"

CLIP = bare_clip(1)


def accepted(key: str, distance: int = 3, nearest: str | None = None) -> Row[Deduped]:
    payload = Deduped(clip=CLIP, group=CLIP.clip_id, nearest=nearest, distance=distance)
    return Row(key=key, status=Status.ACCEPTED, seconds=0.5, payload=payload)


def rejected(key: str, reason: Reason = Reason.NEAR_DUPLICATE) -> Row[Deduped]:
    return Row(key=key, status=Status.REJECTED, reason=reason, detail="why")


def failed(key: str) -> Row[Deduped]:
    return Row(key=key, status=Status.FAILED, detail="ValueError: no")


def open_store(work: Folder, place: str = CHUNK) -> StageStore[Deduped]:
    return StageStore(work, place, Deduped)


@contextmanager
def held(work: Folder, name: str = CHUNK) -> Iterator[None]:
    """The lease `name`, which nobody else has."""
    with lease(work, name) as mine:
        assert mine is not None
        yield
