"""Rows of a stage for tests of the store."""

from schemas import Deduped, Reason, Row, Status
from tasks.store.folder import Folder
from tasks.store.rows import StageStore

KEYS = [f"{i:016x}" for i in range(400)]


def accepted(key: str, distance: int = 3) -> Row[Deduped]:
    return Row(key=key, status=Status.ACCEPTED, seconds=0.5, payload=Deduped(nearest=None, distance=distance))


def rejected(key: str, reason: Reason = Reason.NEAR_DUPLICATE) -> Row[Deduped]:
    return Row(key=key, status=Status.REJECTED, reason=reason, detail="why")


def failed(key: str) -> Row[Deduped]:
    return Row(key=key, status=Status.FAILED, detail="ValueError: no")


def open_store(work: Folder) -> StageStore[Deduped]:
    return StageStore(work, "dedupe", "abc123", Deduped)
