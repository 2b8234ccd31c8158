"""What sees all clips at once, without Prefect: `python -m benchmarks.barriers --clips 10000 100000`.

The source is listed, select, dedupe and the account of the shards do their real work over a folder of tiny files and a
caption table; the rows that stages with batches would leave are put there by the benchmark, and are not counted. Then a
build that finds nothing to do, the report's way through the index, and what the stages have to remark. Each size runs
in a process of its own. Told: processor milliseconds a clip of each, and the most memory meanwhile. What may be done
again is done TIMES times, and the least counts: what else runs on the machine only ever adds.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scale import make_source, peak_of
from benchmarks.setting.sizes import at_each_size

CHUNK, TIMES = 2000, 5


def main() -> None:
    found = at_each_size("benchmarks.barriers", str(__doc__), [10_000, 100_000], measure)
    first, last = found[min(found)], found[max(found)]
    for name, (cost, peak) in last.items():
        before, was = first[name]
        print(f"{name:<16}{before:9.4f}{cost:9.4f} ms a clip ×{cost / before:.2f}{was:8}{peak:8} MB ×{peak / was:.2f}")


def measure(folder: Path, clips: int) -> dict[str, tuple[float, int]]:
    from flows.build import Run
    from flows.context import Context
    from flows.legs import SPECS
    from flows.settings import BuildSettings, RunSettings
    from tasks.dataset.reader import index_rows
    from tasks.report.gallery import Picks
    from tasks.report.stats import collect

    make_source(folder, clips)
    captions, out = str(folder / "captions.jsonl"), str(folder / "out")
    settings = BuildSettings(
        source=str(folder / "raw"), captions=captions, out=out, run=RunSettings(batch=64, chunk=CHUNK)
    )
    context, spent = Context(settings), dict[str, tuple[float, int]]()

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        Path("/proc/self/clear_refs").write_text("5")
        began = time.process_time()
        yield
        took = round(1000 * (time.process_time() - began) / clips, 5)
        least, most = spent.get(name, (took, 0))
        spent[name] = min(took, least), max(round(peak_of()), most)

    def whole(stage: str) -> None:
        with context.lease(stage):
            SPECS[stage].whole(context.at_work(stage))  # type: ignore[misc]
            survey = context.survey()
            for name in survey.chunks(stage):
                survey.settle(stage, name)
            survey.settle(stage)

    with timed("listing"):
        Run(context).list_source()
    put_scan(context)
    with timed("select"):
        whole("select")
    put_ingest(context)
    with timed("dedupe"):
        whole("dedupe")
    put_shards(context)
    spec = SPECS["shard"]
    assert spec.before and spec.after
    for _ in range(TIMES):
        with timed("shard after"):
            spec.after(context.at_work("shard"))
        with timed("report's index"):
            picks = Picks(12)
            with context.dataset.open("index.parquet") as stream:
                assert collect(picks.watch(index_rows(stream))).instances.total() == clips
            assert len(picks.chosen()) == 12
        with timed("remarks"):
            context.remarks()
    fresh = Context(settings)
    with timed("nothing to do"):
        Run(fresh).list_source()
        for stage in ("select", "dedupe"):
            survey = fresh.survey()
            stale = SPECS[stage].stale
            assert survey.settled(stage) and not (stale and stale(fresh.at_work(stage)))
        spec.before(fresh.at_work("shard"))
        fresh.survey().state_of_all()
    return spent


def put_scan(context: Any) -> None:
    """Every listed file hashed."""
    from flows.chunk import Chunk

    for name in context.survey().chunks("scan"):
        with context.lease("scan", name):
            chunk = Chunk(context, name)
            chunk.store("scan").write(list(chunk.process("scan", chunk.pending("scan"))))
            context.survey().settle("scan", name)


def put_ingest(context: Any) -> None:
    """One clip of every source."""
    from benchmarks.scale import clip_from, row_of
    from benchmarks.setting.rows import put
    from schemas import Ingested

    for name, chunk in context.store("select").chunks.items():
        sources = chunk.payloads(chunk.accepted())
        clips = [clip_from(source, "one.mp4", "0" * 64) for source in sources]
        rows = [row_of(clip.source.source_id, Ingested(facts=clip.facts, clips=(clip,))) for clip in clips]
        put(context, "ingest", rows, name)


def put_shards(context: Any) -> None:
    """Rows of one shard a chunk; the shards themselves are empty files."""
    from benchmarks.scale import row_of
    from benchmarks.setting.rows import put
    from schemas.dataset import IndexRow, Sharded, ShardInfo

    for name, chunk in context.store("dedupe").chunks.items():
        clips = [payload.clip for payload in chunk.payloads(chunk.accepted())]
        sha = hashlib.sha256(name.encode()).hexdigest()
        shard = ShardInfo(name=f"train-{name}-{sha[:16]}.tar", split="train", samples=len(clips), bytes=9, sha256=sha)
        context.dataset.write(shard.name, b"")
        one = IndexRow(
            key=clips[0].clip_id, shard=shard.name, split="train", offset=0, bytes=1, caption="", width=9, height=9,
            frames=9, fps=8.0, instances=2, interactions=1, ids=("id1", "id2"), nouns=("man", "box"),
            verbs=("pushes",), contact=(5,), dynamism=(4,), sides=(0.2, 0.1), dataset="bench", uri="", license=None,
            source_digest=sha, group=clips[0].clip_id, media_digest=sha,
        )  # fmt: skip
        of_clips = [
            {"key": c.clip_id, "offset": n, "caption": c.source.caption, "uri": c.source.uris[0],
             "source_digest": c.source.digest, "group": c.source.source_id}
            for n, c in enumerate(clips)
        ]  # fmt: skip
        put(
            context,
            "shard",
            [row_of(o["key"], Sharded(row=one.model_copy(update=o), shard=shard)) for o in of_clips],
            name,
        )


if __name__ == "__main__":
    main()
