"""Builds of many clips whose engines do nothing: `python -m benchmarks.scale --clips 10000 100000`.

Real flows, store, leases, scan, select, dedupe, shards and report over a folder of tiny files and one caption table;
only decoding and the models are stood in for, by records of about the size that real ones have. Each size runs in a
process of its own, on a Prefect server of its own. Told for each: milliseconds a clip of every phase, those a clip
and stage over the batches, peak memory, the time of a second build that finds nothing to do, and how fast the
server answers what its UI asks.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prefect_server import prefect_server

FRAMES, HEIGHT, WIDTH = 9, 96, 144


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--chunk", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="where the builds lie meanwhile")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(Path(given.child[0]), int(given.child[1]), given.chunk, given.batch)))
        return
    found = {}
    for clips in given.clips:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder, prefect_server(Path(folder) / "server") as env:
            words = ["--child", folder, str(clips), "--chunk", str(given.chunk), "--batch", str(given.batch)]
            command = [sys.executable, "-m", "benchmarks.scale", *words]
            done = subprocess.run(command, check=True, env=env, stdout=subprocess.PIPE, text=True)
        found[clips] = json.loads(done.stdout.splitlines()[-1])
        print(f"{clips} clips: {json.dumps(found[clips])}", flush=True)
    first, last = found[given.clips[0]], found[given.clips[-1]]
    for phase, cost in last["ms_a_clip"].items():
        print(f"{phase:<22}{first['ms_a_clip'][phase]:9.3f}{cost:9.3f} ms a clip")
    print(
        f"chain {last['ms_a_clip_and_stage']:.3f} ms a clip and stage (bar 1); peak "
        f"×{last['peak_mb'] / first['peak_mb']:.2f} (bar 1.10); nothing to do {last['idle_ours_s']:.1f} s (bar 5); "
        f"UI {last['ui_s']:.2f} s (bar 2)"
    )


def make_source(folder: Path, clips: int) -> None:
    """Files of a few bytes, and a caption for each."""
    from benchmarks.rows import CAPTION

    (folder / "raw").mkdir()
    with (folder / "captions.jsonl").open("w") as table:
        for n in range(clips):
            (folder / "raw" / f"{n:07d}.mp4").write_text(f"video {n}")
            # One each: a caption that many videos share is rejected.
            table.write(json.dumps({"video": f"{n:07d}.mp4", "caption": f"{CAPTION[:-1]} {n}."}) + "\n")


def measure(folder: Path, clips: int, chunk: int, batch: int) -> dict[str, Any]:
    """One build of that many clips and one more that finds nothing to do, in this process."""
    import httpx
    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    import flows.build
    from flows.chunk import Chunk
    from flows.opened import context_of
    from flows.settings import BuildSettings, RunSettings

    make_source(folder, clips)
    settings = BuildSettings(
        source=str(folder / "raw"),
        captions=str(folder / "captions.jsonl"),
        out=str(folder / "out"),
        run=RunSettings(batch=batch, sources_batch=batch, files_batch=batch, workers=2, chunk=chunk),
    )
    Chunk.process = stand_in(Chunk.process)  # type: ignore[method-assign, assignment]
    spent = timed(flows.build.Run)
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
        began = time.perf_counter()
        result = flows.build.build(settings)
        whole = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        assert result.pending == 0 and result.funnel["shard"].accepted == clips, result
        first = dict(spent)
        began = time.perf_counter()
        flows.build.build(settings)
        idle = time.perf_counter() - began
        api, asked = PREFECT_API_URL.value(), time.perf_counter()
        with httpx.Client(base_url=str(api), timeout=60) as client:
            for what in ("flow_runs", "task_runs"):
                client.post(f"/{what}/filter", json={"limit": 200, "sort": "ID_DESC"}).raise_for_status()
                client.post(f"/{what}/count", json={}).raise_for_status()
        answered = time.perf_counter() - asked
    looked = time.perf_counter()
    context_of(settings.out).funnel()
    looked = time.perf_counter() - looked
    chain = next(seconds for name, seconds in first.items() if name.startswith("leg caption"))
    return {
        "ms_a_clip": {name: round(1000 * seconds / clips, 4) for name, seconds in first.items()},
        "ms_a_clip_and_stage": round(1000 * chain / (clips * 6), 4),
        "build_s": round(whole, 1),
        "peak_mb": round(peak, 1),
        "idle_s": round(idle, 2),
        "idle_ours_s": round(sum(spent.values()) - sum(first.values()), 2),
        "status_s": round(looked, 2),
        "ui_s": round(answered, 2),
    }


def timed(run: Any) -> dict[str, float]:
    """Seconds by phase, as the methods of a run are called."""
    spent: dict[str, float] = defaultdict(float)

    def wrap(name: str, label: Any) -> None:
        method = getattr(run, name)

        def wrapped(self: Any, *given: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(self, *given)
            finally:
                spent[label(*given)] += time.perf_counter() - began

        setattr(run, name, wrapped)

    wrap("list_source", lambda: "listing")
    wrap("leg", lambda specs: f"leg {specs[0].name}")
    wrap("whole", lambda stage, part="whole": f"{stage} {part}")
    return spent


def stand_in(process: Any) -> Any:
    """`Chunk.process` with decoding and models left out."""
    from benchmarks.rows import payload_of
    from flows.legs import SPECS
    from schemas import Ingested, Row, Status, Tracked
    from schemas.tracks import Track
    from tasks.media.clips import EncodeSettings, encode_clip, encode_mask

    mp4 = encode_clip([np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * FRAMES, Fraction(8), EncodeSettings())
    digest = hashlib.sha256(mp4).hexdigest()
    mask = encode_mask(np.tri(HEIGHT, WIDTH, dtype=bool))
    tracked = Tracked(
        height=HEIGHT,
        width=WIDTH,
        tracks=tuple(Track(id=i, masks=(mask,) * FRAMES) for i in ("id1", "id2")),
        tracker="-",
    )

    def instead(self: Any, stage: str, keys: Sequence[str]) -> Iterator[Row[Any]]:
        if stage in ("scan", "shard"):
            yield from process(self, stage, keys)
        elif stage == "ingest":
            path = f"{self.context.media}/one.mp4"
            if not self.context.folder.exists(path):
                self.context.folder.write(path, mp4)
            for source in self.store("select").payloads(self.store("select").leading_to(keys)):
                clip = _clip(source, path, digest)
                yield _row(source.source_id, Ingested(facts=clip.facts, clips=(clip,)))
        else:
            for case in self.cases(keys, SPECS[stage].needs):
                payload = tracked if stage == "track" else payload_of(stage)
                if stage == "caption":
                    payload = payload.model_copy(update={"caption": case.clip.source.caption})
                yield _row(case.clip.clip_id, payload)

    def _row(key: str, payload: Any) -> Row[Any]:
        return Row(key=key, status=Status.ACCEPTED, seconds=0.001, payload=payload)

    return instead


def _clip(source: Any, path: str, digest: str) -> Any:
    from benchmarks.rows import clip_of

    clip_id = hashlib.sha256(f"clip {source.digest}".encode()).hexdigest()[:16]
    hashes = hashlib.sha256(source.digest.encode()).hexdigest()  # far from all others
    update = {
        "clip_id": clip_id, "source": source, "path": path, "media_digest": digest, "width": WIDTH, "height": HEIGHT,
        "frames": FRAMES, "phash": tuple(hashes[i : i + 16] for i in range(0, 64, 16)),
    }  # fmt: skip
    return clip_of(0).model_copy(update=update)


if __name__ == "__main__":
    main()
