"""Dedupe over a small store: what it cuts into chunks, what stays where it is, and clips whose video is gone."""

import random
from pathlib import Path
from typing import Any

import pytest

from flows.context import Context
from flows.settings import BuildSettings, RunSettings
from schemas import Clip, Deduped, Ingested, Reason, Row, Status
from tasks.dedupe.stage import SPEC
from tasks.store.chunks import StageView
from tests.builders import bare_clip


@pytest.fixture
def context(tmp_path: Path) -> Context:
    settings = BuildSettings(source=str(tmp_path / "raw"), out=str(tmp_path / "out"), run=RunSettings(chunk=2))
    return Context(settings)


def looks(seed: int, bits: int = 0) -> tuple[str, ...]:
    """Hashes of a clip; those of one seed differ by the difference of their `bits`."""
    rng = random.Random(seed)
    return tuple(f"{rng.getrandbits(64) ^ ((1 << bits) - 1):016x}" for _ in range(5))


def ingest(context: Context, *clips: Clip, chunk: str = "00000") -> None:
    """Puts the sources of these clips on record."""
    by_source: dict[str, list[Clip]] = {}
    for clip in clips:
        by_source.setdefault(clip.source.source_id, []).append(clip)
    rows = [
        Row[Any](key=key, status=Status.ACCEPTED, payload=Ingested(facts=some[0].facts, clips=tuple(some)))
        for key, some in by_source.items()
    ]
    with context.lease("ingest", chunk):
        context.open("ingest", chunk).write(rows)


def forget(context: Context, *clips: Clip) -> None:
    assert context.store("ingest").forget({clip.source.source_id for clip in clips})


def dedupe(context: Context) -> list[str]:
    assert SPEC.whole is not None
    with context.lease("dedupe"):
        return list(SPEC.whole(context.at_work("dedupe")))


def chunks(context: Context) -> dict[str, list[int]]:
    """Numbers of the clips in each chunk."""
    store = context.store("dedupe")
    return {name: sorted(int(key, 16) for key in chunk.keys()) for name, chunk in store.chunks.items()}  # noqa: SIM118


def record(store: StageView[Deduped], number: int) -> Deduped:
    return store.payloads([f"{number:016x}"])[0]


def test_new_clips_are_cut_into_chunks_in_the_order_of_their_sources(context: Context) -> None:
    clips = [bare_clip(n, looks(n), f"/b/{9 - n}.mp4") for n in range(1, 6)]
    ingest(context, *clips)
    assert dedupe(context) == []
    assert chunks(context) == {"00000": [4, 5], "00001": [2, 3], "00002": [1]}
    store = context.store("dedupe")
    assert store.payloads(store.accepted()) == [
        Deduped(clip=clip, group=clip.source.source_id, nearest=None, distance=None) for clip in clips
    ]


def test_what_comes_later_is_compared_with_all_and_touches_no_chunk(context: Context) -> None:
    ingest(context, *(bare_clip(n, looks(n)) for n in range(3)))
    dedupe(context)
    before = {name: context.folder.read(name) for name, _ in context.folder.walk() if name.startswith("dedupe")}
    new = [bare_clip(10, looks(1, 2)), bare_clip(11, looks(2, 9)), bare_clip(12, looks(12))]
    ingest(context, *new, chunk="00001")
    dedupe(context)
    assert {name: context.folder.read(name) for name in before} == before
    assert chunks(context) == {"00000": [0, 1], "00001": [2], "00002": [10, 11], "00003": [12]}
    store = context.store("dedupe")
    assert store.rejected() == {f"{10:016x}": Reason.NEAR_DUPLICATE}
    assert (record(store, 11).group, record(store, 11).nearest) == (f"{2:016x}", f"{2:016x}")
    dedupe(context)
    assert chunks(context) == {"00000": [0, 1], "00001": [2], "00002": [10, 11], "00003": [12]}


def test_a_group_is_fixed_when_it_is_put_on_record(context: Context) -> None:
    ingest(context, bare_clip(5, looks(5)), bare_clip(7, looks(7)))
    dedupe(context)
    bridge = [bare_clip(8, looks(5, 9), "/b/8.mp4", source=1), bare_clip(9, looks(7, 9), "/b/8.mp4", source=1, index=1)]
    ingest(context, *bridge, chunk="00001")
    dedupe(context)
    store = context.store("dedupe")
    assert [record(store, n).group for n in (5, 7, 8, 9)] == [f"{n:016x}" for n in (5, 7, 5, 5)]
    assert [record(store, n).near for n in (5, 7, 8, 9)] == [(), (), (f"{7:016x}",), (f"{7:016x}",)]


def test_rows_do_not_depend_on_the_chunks_that_sources_came_in(tmp_path: Path) -> None:
    clips = [bare_clip(n, looks(n // 3, n % 3 * 3), f"/b/{n:02d}.mp4") for n in range(12)]
    found = []
    for order in (clips, clips[::-1]):
        settings = BuildSettings(source="raw", out=str(tmp_path / str(len(found))), run=RunSettings(chunk=5))
        context = Context(settings)
        for n, clip in enumerate(order):
            ingest(context, clip, chunk=f"{n // 4:05d}")
        dedupe(context)
        rows = [row.model_copy(update={"seconds": 0.0}) for some in context.store("dedupe").scan() for row in some]
        found.append((chunks(context), sorted(rows, key=lambda row: row.key)))
    assert found[0] == found[1]


def test_a_clip_whose_video_is_gone_is_told_in_its_place_and_is_back_with_it(context: Context) -> None:
    clips = [bare_clip(n, looks(n)) for n in range(4)]
    ingest(context, *clips)
    dedupe(context)
    places, kept = chunks(context), context.store("dedupe").payloads([f"{2:016x}"])
    forget(context, clips[2])
    (told,) = dedupe(context)
    assert told.startswith("1 clips are left out")
    assert context.store("dedupe").rejected() == {f"{2:016x}": Reason.CLIP_LOST} and chunks(context) == places
    assert dedupe(context) == [], "it is told once"
    ingest(context, clips[2])
    assert dedupe(context) == []
    assert context.store("dedupe").rejected() == {} and chunks(context) == places
    assert context.store("dedupe").payloads([f"{2:016x}"]) == kept


def test_one_that_is_like_a_clip_that_is_gone_stays_alone(context: Context) -> None:
    first = bare_clip(1, looks(1))
    ingest(context, first)
    dedupe(context)
    forget(context, first)
    ingest(context, bare_clip(2, looks(1, 1)), chunk="00001")
    dedupe(context)
    assert context.store("dedupe").accepted() == [f"{2:016x}"]
    ingest(context, first)
    dedupe(context)
    assert context.store("dedupe").rejected() == {f"{1:016x}": Reason.NEAR_DUPLICATE}
