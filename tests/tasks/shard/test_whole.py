"""Shard over a small store: what it takes from the stages before it, and what it has made again."""

from pathlib import Path
from typing import Any

import pytest

from flows.context import Context
from flows.settings import BuildSettings
from schemas import Captioned, Curated, Deduped, Ingested, Proposed, Record, Row, Status, Tracked, Verified
from tasks.outcome import Case
from tasks.shard.stage import SPEC
from tasks.store.folder import Folder
from tasks.store.lock import build_lock
from tests.builders import make_case


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(BuildSettings(source=str(tmp_path / "raw"), out=str(tmp_path / "out")))


@pytest.fixture
def cases(context: Context) -> list[Case]:
    """Clips on record at every stage."""
    made = [make_case(Folder(context.folder.root), seed, frames=5) for seed in range(3)]
    for case in made:
        clip = case.clip
        rows: dict[str, Record] = {
            "dedupe": Deduped(nearest=None, distance=None),
            "caption": case.of(Captioned),
            "propose": case.of(Proposed),
            "verify": case.of(Verified),
            "track": case.of(Tracked),
            "curate": case.of(Curated),
        }
        put(context, "ingest", clip.source.source_id, Ingested(facts=clip.facts, clips=(clip,)))
        for stage, payload in rows.items():
            put(context, stage, clip.clip_id, payload)
    return made


def put(context: Context, stage: str, key: str, payload: Record) -> None:
    context.store(stage).write([Row[Any](key=key, status=Status.ACCEPTED, payload=payload)])


def shard(context: Context) -> list[str]:
    assert SPEC.whole is not None
    with build_lock(context.settings.out):
        return list(SPEC.whole(context.at_work("shard")))


def samples(context: Context) -> list[str]:
    return sorted(
        name.partition(".")[0]
        for shard in context.dataset.names()
        if shard.endswith(".tar")
        for name in context.dataset.read(shard).decode("latin-1").split("\0")
        if name.endswith(".mp4")
    )


def test_accepted_clips_go_in_and_nothing_makes_no_dataset(context: Context, tmp_path: Path) -> None:
    assert shard(context) == [] and context.dataset.names() == []


def test_a_lost_clip_is_told_and_its_source_is_made_again(context: Context, cases: list[Case]) -> None:
    lost, *others = cases
    context.folder.remove(lost.clip.path)
    (told,) = shard(context)
    assert told.startswith(f"1 accepted clips are in no shard: clip_lost, as {lost.clip.clip_id}: ")
    assert samples(context) == sorted(c.clip.clip_id for c in others)
    sources = [c.clip.source.source_id for c in cases]
    assert context.store("ingest").pending(sources) == sources[:1]


def test_a_clip_whose_source_is_made_again_waits_for_it(context: Context, cases: list[Case]) -> None:
    with build_lock(context.settings.out):
        context.store("ingest").forget([cases[0].clip.source.source_id])
    assert shard(context) == []
    assert samples(context) == sorted(c.clip.clip_id for c in cases[1:])
