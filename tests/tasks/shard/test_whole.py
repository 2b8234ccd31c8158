"""Shard over a small store, as a build runs it: what it takes from the stages before it, and what it has made again."""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flows.batches import Lost, run_batch
from flows.chunk import Chunk
from flows.chunk_flow import recut
from flows.context import Context
from flows.settings import BuildSettings
from schemas import Captioned, Curated, Deduped, Ingested, Proposed, Record, Row, Status, Tracked, Verified
from schemas.review import Reviewed
from tasks.outcome import Case
from tasks.shard.stage import SPEC
from tasks.store.folder import Folder
from tests.builders import make_case

CHUNK = "00000"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(BuildSettings(source=str(tmp_path / "raw"), out=str(tmp_path / "out")))


@pytest.fixture
def cases(context: Context) -> list[Case]:
    """Clips on record at every stage, in the order of their keys."""
    made = [make_case(Folder(context.folder.root), seed, frames=5) for seed in range(4)]
    for case in made:
        clip = case.clip
        rows: dict[str, Record] = {
            "dedupe": case.of(Deduped),
            "caption": case.of(Captioned),
            "propose": case.of(Proposed),
            "verify": case.of(Verified),
            "track": case.of(Tracked),
            "curate": case.of(Curated),
            "review": case.of(Reviewed),
        }
        put(context, "ingest", clip.source.source_id, Ingested(facts=clip.facts, clips=(clip,)))
        for stage, payload in rows.items():
            put(context, stage, clip.clip_id, payload)
    return sorted(made, key=lambda case: case.clip.clip_id)


def put(context: Context, stage: str, key: str, payload: Record) -> None:
    with context.lease(stage, CHUNK):
        context.open(stage, CHUNK).write([Row[Any](key=key, status=Status.ACCEPTED, payload=payload)])


def shard(context: Context) -> list[str]:
    """Returns what is told."""
    assert SPEC.after is not None
    chunk = Chunk(context, CHUNK)
    with context.lease("shard"):
        if keys := chunk.pending("shard"):
            with suppress(Lost):
                run_batch(chunk, "shard", keys)
        SPEC.after(context.at_work("shard"))
    return recut(chunk)


def samples(context: Context) -> list[str]:
    return sorted(
        name.partition(".")[0]
        for shard in context.dataset.names()
        if shard.endswith(".tar")
        for name in context.dataset.read(shard).decode("latin-1").split("\0")
        if name.endswith(".mp4")
    )


def keys_of(cases: list[Case]) -> list[str]:
    return [case.clip.clip_id for case in cases]


def test_accepted_clips_go_in_and_nothing_makes_no_dataset(context: Context) -> None:
    assert shard(context) == [] and context.dataset.names() == []


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


LOSSES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "another": lambda path: path.write_bytes(b"another video"),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a folder": folder_instead,
    "a dead link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("how", LOSSES)
def test_a_clip_that_is_not_the_one_ingest_wrote_is_left_and_its_source_made_again(
    context: Context, cases: list[Case], how: str
) -> None:
    lost = cases[1].clip
    LOSSES[how](Path(context.folder.path(lost.path)))
    assert shard(context) == ["ingest: 1 videos are cut again"]
    assert samples(context) == [key for key in keys_of(cases) if key != lost.clip_id]
    sources = [case.clip.source.source_id for case in cases]
    assert context.store("ingest").pending(sources) == [lost.source.source_id]
    assert Chunk(context, CHUNK).pending("shard") == [lost.clip_id]


@pytest.mark.parametrize("which", [(0,), (1, 3), (0, 1, 2, 3)])
def test_however_many_are_lost_the_others_go_in_and_it_grows_when_they_are_back(
    context: Context, cases: list[Case], which: tuple[int, ...]
) -> None:
    kept = {n: context.folder.read(cases[n].clip.path) for n in which}
    for n in which:
        context.folder.remove(cases[n].clip.path)
    shard(context)
    assert samples(context) == [key for n, key in enumerate(keys_of(cases)) if n not in which]
    for n, data in kept.items():
        context.folder.write(cases[n].clip.path, data)
    shard(context)
    assert samples(context) == keys_of(cases)


def test_a_bad_block_is_of_one_file(context: Context, cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    read, bad = Folder.read, cases[2].clip.path

    def failing(folder: Folder, name: str) -> bytes:
        if name == bad:
            raise OSError(errno.EIO, "Input/output error")
        return read(folder, name)

    monkeypatch.setattr(Folder, "read", failing)
    assert shard(context) == ["ingest: 1 videos are cut again"]
    assert samples(context) == [key for n, key in enumerate(keys_of(cases)) if n != 2]


def test_what_was_put_in_stays_in_though_its_video_is_gone_later(context: Context, cases: list[Case]) -> None:
    shard(context)
    before = {name: context.dataset.read(name) for name in context.dataset.names()}
    context.store("ingest").forget([cases[0].clip.source.source_id])
    context.store("dedupe").forget([cases[0].clip.clip_id])
    shard(context)
    assert {name: context.dataset.read(name) for name in context.dataset.names()} == before
