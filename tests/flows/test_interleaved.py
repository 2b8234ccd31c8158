"""Several processes at one build, in any order: no row is lost, doubled or different, the shards are the same bytes.

Each actor opens everything anew for every piece of work, as a process of its own would, and holds what it works on by
lease. A schedule picks who goes on next, batch by batch; some pieces are cut off in the middle, as by a kill.
"""

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.scale import make_source, stand_in
from flows.batches import run_batch
from flows.chunk import Chunk
from flows.context import Context
from flows.legs import RECORDED, SPECS
from flows.settings import BuildSettings, RunSettings
from tasks.scan.cutting import cut_listing
from tests.flows.building import dataset_files

CLIPS = 7
SHORT, LONG = range(20), range(20, 240)


class Cut(Chunk):
    process = stand_in(Chunk.process)


def settings_of(folder: Path, out: str) -> BuildSettings:
    return BuildSettings(
        source=str(folder / "raw"), captions=str(folder / "captions.jsonl"), out=str(folder / out),
        run=RunSettings(chunk=3),
    )  # fmt: skip


def piece(settings: BuildSettings, stage: str, dice: random.Random) -> Iterator[None]:
    """Some work at a stage, yielding between its steps; it ends where another is at it, or nothing is to be done."""
    context = Context(settings)
    survey = context.survey()
    if SPECS[stage].whole:
        with context.lease(stage) as mine:
            yield
            # As a build does: looked at under the lease, for another may have decided meanwhile.
            survey.look()
            before = [survey.tally(name) for name in RECORDED[: RECORDED.index(stage)]]
            if mine and before[0].arrived and not any(line.pending for line in before):
                SPECS[stage].whole(context.at_work(stage))
                survey.look()
                survey.settle(stage)
        return
    if not (chunks := survey.pending(stage)):
        return
    name = dice.choice(chunks)
    with context.lease(stage, name) as mine:
        if mine is None:
            return
        yield
        chunk = Cut(context, name)
        keys = chunk.pending(stage)
        size = len(keys) if SPECS[stage].together else dice.randint(1, 3)
        for i in range(0, len(keys), size or 1):
            run_batch(chunk, stage, keys[i : i + size])
            yield
        if dice.random() < 0.5:
            chunk.store(stage).compact()
        yield
        survey.look()
        survey.settle(stage, name)


def listing(settings: BuildSettings) -> Iterator[None]:
    context = Context(settings)
    with context.lease("scan") as mine:
        yield
        if mine:
            cut_listing(list(context.list_source()), context.folder.below(context.place("scan")), 3)


def finish(settings: BuildSettings, dice: random.Random) -> None:
    """Go on alone until all is done."""
    list(listing(settings))
    context = Context(settings)
    for stage in RECORDED:
        for _ in range(1 + len(context.survey().pending(stage)) if SPECS[stage].batch else 1):
            list(piece(settings, stage, dice))
        assert not context.survey().tally(stage).pending, stage
    with context.lease("shard"):
        SPECS["shard"].after(context.at_work("shard"))


def account(settings: BuildSettings) -> dict[str, dict[str, tuple[str, str]]]:
    """By stage and key: in which chunk its row is, and what it says. Every key has one row on disk."""
    context, found = Context(settings), {}
    for stage in RECORDED:
        rows = context.store(stage)
        raw = Counter(
            key
            for part in Path(rows.folder.root).rglob("part-*.parquet")
            for key in pq.read_table(part, columns=["key"])["key"].to_pylist()
        )
        assert set(raw.values()) <= {1}, f"{stage} has doubled rows"
        found[stage] = {
            row.key: (rows.chunk_of(row.key), row.model_copy(update={"seconds": 0.0}).model_dump_json())
            for some in rows.scan()
            for row in some
        }
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("interleaved")
    make_source(folder, CLIPS)
    return folder


@pytest.fixture(scope="module")
def alone(source):
    settings = settings_of(source, "alone")
    finish(settings, random.Random(0))
    return account(settings), dataset_files(source / "alone")


def check(source: Path, alone, seed: int) -> None:
    dice, out = random.Random(seed), f"out{seed}"
    settings = settings_of(source, out)
    actors: list[Iterator[None]] = []
    for _ in range(80):
        if len(actors) < 3:
            # The early stages more often: those after them wait for these.
            stage = RECORDED[min(dice.randrange(len(RECORDED)) for _ in range(2))]
            actors.append(listing(settings) if dice.random() < 0.1 else piece(settings, stage, dice))
        actor = dice.choice(actors)
        if dice.random() < 0.05:
            actor.close()
            actors.remove(actor)
            continue
        with suppress(StopIteration):
            next(actor)
            continue
        actors.remove(actor)
    for actor in actors:
        actor.close()
    finish(settings, dice)
    assert account(settings) == alone[0]
    assert dataset_files(source / out) == alone[1]
    shutil.rmtree(source / out)


@pytest.mark.parametrize("seed", SHORT)
def test_any_order_of_two_processes_gives_the_same_rows_and_bytes(source, alone, seed):
    check(source, alone, seed)


@pytest.mark.production
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_more_orders(source, alone):
    for seed in LONG:
        check(source, alone, seed)
