"""The store alone, without Prefect and without stages: `python -m benchmarks.store --clips 100000 1000000`.

Clips are put on record as dedupe does it, chunk by chunk, and taken through one stage as a worker does it: a chunk's
lease, its pending clips, their records read a batch at a time, a part written a batch, parts merged, the tally left.
Then what is done over all: the funnel by one listing a stage, a column of all rows, rows by their keys. Each size runs
in a process of its own. Told: processor microseconds a clip, or seconds, of each, and the most memory.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK, BATCH = 2000, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where the stores lie meanwhile")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.child[0], int(given.child[1]))))
        return
    found = {}
    for clips in given.clips:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            command = [sys.executable, "-m", "benchmarks.store", "--child", folder, str(clips)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[clips] = json.loads(done.stdout.splitlines()[-1])
        print(f"{clips} clips: {json.dumps(found[clips])}", flush=True)
    first, last = found[given.clips[0]], found[given.clips[-1]]
    for name, cost in last.items():
        print(f"{name:<18}{first[name]:12.2f}{cost:12.2f}   ×{cost / first[name]:.2f}")


def measure(folder: str, clips: int) -> dict[str, float]:
    from benchmarks.rows import deduped, key_of, payload_of
    from flows.chunk import Chunk
    from flows.context import Context
    from flows.legs import SPECS
    from flows.settings import BuildSettings, RunSettings
    from schemas import Row, Status

    spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        spent[name] += time.process_time() - began

    run = RunSettings(batch=BATCH, workers=2, chunk=CHUNK)
    context = Context(BuildSettings(source=f"{folder}/raw", out=f"{folder}/out", run=run))
    survey = context.survey()
    one, answer = deduped(0), payload_of("caption")
    for first in range(0, clips, CHUNK):
        keys = [key_of("clip", n) for n in range(first, min(first + CHUNK, clips))]
        made = [one.model_copy(update={"clip": one.clip.model_copy(update={"clip_id": key})}) for key in keys]
        cut = [Row(key=key, status=Status.ACCEPTED, payload=payload) for key, payload in zip(keys, made, strict=True)]
        with timed("cut"), context.lease("dedupe"):
            context.store("dedupe").append(cut, CHUNK)
        name = f"{first // CHUNK:05d}"
        with timed("work"), context.lease("caption", name):
            chunk = Chunk(context, name)
            pending = chunk.pending("caption")
            for at in range(0, len(pending), BATCH):
                cases = chunk.cases(pending[at : at + BATCH], SPECS["caption"].needs)
                chunk.store("caption").write(
                    [Row(key=c.clip.clip_id, status=Status.ACCEPTED, payload=answer) for c in cases]
                )
            chunk.store("caption").compact()
        worker = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with timed("settle"):
        survey.look()
        for stage in ("dedupe", "caption"):
            for name in survey.chunks(stage):
                with context.lease(stage, name):
                    survey.settle(stage, name)
    with timed("funnel_s"):
        line = context.survey().tally("caption")
    assert line.accepted == clips, line
    with timed("column"):
        assert sum(1 for _ in context.store("caption").columns(["payload.caption"])) == clips
    view, rng = context.store("caption"), random.Random(0)
    with timed("find_s"):
        view.read([key_of("clip", rng.randrange(clips))])
    with timed("read_100_s"):
        view.read([key_of("clip", rng.randrange(clips)) for _ in range(100)])
    cost = {n: s if n.endswith("_s") else 1e6 * s / clips for n, s in spent.items()}
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {n: round(v, 3) for n, v in cost.items()} | {"worker_mb": round(worker), "peak_mb": round(whole)}


if __name__ == "__main__":
    main()
