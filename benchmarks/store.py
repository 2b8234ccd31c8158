"""The store alone, without Prefect and without stages: `python -m benchmarks.store --clips 100000 1000000`.

Files are cut into chunks and taken through a stage as a worker does it: a chunk's lease, what is pending there, a part
written a batch, its rows read again a batch at a time, parts merged, the tally left. Then what is done over all: the
funnel by one listing, a column of all rows, rows by their keys. Rows are those of scan, the smallest; what larger ones
cost more is the same in any chunk. Each size runs in a process of its own. Told: processor microseconds a clip, or
seconds, of each, and the most memory of a worker, and of all.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.scale import peak_of
from benchmarks.setting.sizes import at_each_size

CHUNK, BATCH = 2000, 64


def main() -> None:
    found = at_each_size("benchmarks.store", str(__doc__), [100_000, 1_000_000], measure)
    first, last = found[min(found)], found[max(found)]
    for name, cost in last.items():
        print(f"{name:<18}{first[name]:12.2f}{cost:12.2f}   ×{cost / max(first[name], 1e-3):.2f}")


def measure(folder: Path, clips: int) -> dict[str, float]:
    from flows.chunk import Chunk
    from flows.context import Context
    from flows.settings import BuildSettings, RunSettings
    from schemas import Row, SourceFile, Status
    from tasks.scan.cutting import cut_listing
    from tasks.scan.listing import Found

    spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        spent[name] += time.process_time() - began

    run = RunSettings(files_batch=BATCH, workers=2, chunk=CHUNK)
    context = Context(BuildSettings(source=f"{folder}/raw", out=f"{folder}/out", run=run))
    files = (Found(f"raw/{n:07d}.mp4", f"{n:07d}.mp4", 9, "1") for n in range(clips))
    with timed("cut"):
        cut_listing(files, context.folder.below(context.place("scan")), CHUNK)
    survey, digest = context.survey(), "0" * 64
    for name in survey.chunks("scan"):
        with timed("work"), context.lease("scan", name):
            chunk = Chunk(context, name)
            pending, store = chunk.pending("scan"), chunk.store("scan")
            for at in range(0, len(pending), BATCH):
                some = [(key, chunk.listing[key]) for key in pending[at : at + BATCH]]
                made = {
                    k: SourceFile(uri=f.uri, name=f.name, size_bytes=9, version="1", digest=digest) for k, f in some
                }
                store.write([Row(key=k, status=Status.ACCEPTED, payload=payload) for k, payload in made.items()])
            store.compact()
            again = Chunk(context, name).store("scan")
            for at in range(0, len(pending), BATCH):
                again.read(pending[at : at + BATCH])
    worker = peak_of()
    with timed("settle"):
        survey.look()
        for name in survey.chunks("scan"):
            with context.lease("scan", name):
                survey.settle("scan", name)
    with timed("funnel_s"):
        line = context.survey().tally("scan")
    assert line.accepted == clips, line
    with timed("column"):
        assert sum(1 for _ in context.store("scan").columns(["payload.digest"])) == clips
    view = context.store("scan")
    with timed("find"):
        assert pending[0] in view
    with timed("read_64_s"):
        view.read(pending[:BATCH])
    cost = {name: s if name.endswith("_s") else 1e6 * s / clips for name, s in spent.items()}
    return {name: round(v, 3) for name, v in cost.items()} | {"worker_mb": round(worker), "peak_mb": round(peak_of())}


if __name__ == "__main__":
    main()
