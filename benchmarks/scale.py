"""Builds of many clips with test engines of 1 ms: `python -m benchmarks.scale --clips 10000 100000`.

Real flows, store, leases, scan, select, dedupe, shards and report over a folder of tiny files and one caption table,
with run logs and artifacts on a Prefect server of its own; only decoding and the models are stood in for, by records of
about the size that real ones have. Each size runs in a process of its own.

Told of every phase: milliseconds a clip by the clock, processor milliseconds a clip of our process and of Prefect's
server, and the most memory that our process had meanwhile. The chain's overhead a clip and stage is the clock of the
leg from caption to shard, less the time for which engines slept (they sleep in `workers` threads at once) and less the
making of shards, which is a phase: what is left is scheduling, leases, rows and telling. On a busy machine the clock
says little, and processor time is to be compared.

Then a second build that finds nothing to do, `status`, and the answers that Prefect's pages wait for.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.setting.prefect_pages import slowest
from benchmarks.setting.prefect_server import prefect_server

FRAMES, HEIGHT, WIDTH = 9, 96, 144
ENGINE_S = 0.001
WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--chunk", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="where the builds lie meanwhile")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        folder, clips, server = given.child
        print(json.dumps(measure(Path(folder), int(clips), psutil.Process(int(server)), given.chunk, given.batch)))
        return
    found = {}
    for clips in given.clips:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder, prefect_server(Path(folder) / "server") as env:
            (server,) = psutil.Process().children()
            sizes = ["--chunk", str(given.chunk), "--batch", str(given.batch)]
            command = [sys.executable, "-m", "benchmarks.scale", "--child", folder, str(clips), str(server.pid), *sizes]
            # One thread: where others use the machine too, those of BLAS burn processor time as they wait for it.
            env |= {"PREFECT_LOGGING_LEVEL": "INFO", "OPENBLAS_NUM_THREADS": "1"}
            env["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "WARNING"
            done = subprocess.run(command, check=True, env=env, stdout=subprocess.PIPE, text=True)
        found[clips] = json.loads(done.stdout.splitlines()[-1])
        tell(clips, found[clips])
    first, last = found[given.clips[0]], found[given.clips[-1]]
    print(f"from {given.clips[0]} to {given.clips[-1]} clips, processor time a clip and most memory:")
    for name, phase in last["phases"].items():
        before = first["phases"][name]
        print(f"{name:<16}×{phase['cpu_ms'] / max(before['cpu_ms'], 1e-6):.2f}  ×{phase['mb'] / before['mb']:.2f}")
    print(f"peak ×{last['peak_mb'] / first['peak_mb']:.2f} (bar 1.10)")


def tell(clips: int, found: dict[str, Any]) -> None:
    print(f"{clips} clips: {json.dumps(found)}")
    for name, phase in found["phases"].items():
        print(f"{name:<16}" + "".join(f"{value:10.3f} {what}" for what, value in phase.items()))
    print(
        f"chain {found['overhead_ms']:.3f} ms a clip and stage by the clock, processor {found['overhead_cpu_ms']:.3f} "
        f"(bar 1); nothing to do {found['idle_s']:.1f} s, our processor {found['idle_cpu_s']:.1f} s (bar 5); slowest "
        f"answer of a page {found['ui_s']:.2f} s (bar 2)",
        flush=True,
    )


def make_source(folder: Path, clips: int) -> None:
    """Files of a few bytes, and a caption for each."""
    from benchmarks.setting.rows import CAPTION

    (folder / "raw").mkdir()
    with (folder / "captions.jsonl").open("w") as table:
        for n in range(clips):
            (folder / "raw" / f"{n:07d}.mp4").write_text(f"video {n}")
            # One each: a caption that many videos share is rejected.
            table.write(json.dumps({"video": f"{n:07d}.mp4", "caption": f"{CAPTION[:-1]} {n}."}) + "\n")


class Phases:
    """Clock, processor time of us and of the server, and peak memory by phase; what lies within another is taken off
    that."""

    def __init__(self, server: psutil.Process) -> None:
        self.server, self.spent = server, dict[str, list[float]]()
        self._open: list[list[float]] = []
        """What lay within each phase under way: clock, both processor times, and the peak until then."""

    def now(self) -> list[float]:
        served = self.server.cpu_times()
        return [time.perf_counter(), time.process_time(), served.user + served.system]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._note_peak()
        began, within = self.now(), [0.0] * 4
        self._open.append(within)
        try:
            yield
        finally:
            self._note_peak()
            self._open.pop()
            took = [b - a for a, b in zip(began, self.now(), strict=True)]
            if self._open:
                self._open[-1][:3] = [a + b for a, b in zip(self._open[-1], took, strict=False)]
            before = self.spent.get(name, [0.0] * 4)
            own = [a + b - part for a, b, part in zip(before, took, within, strict=False)]
            self.spent[name] = [*own, max(before[3], within[3])]
            print(f"{name}: {self.spent[name]}", file=sys.stderr, flush=True)

    def _note_peak(self) -> None:
        """Count the peak until now for the innermost phase under way, and begin anew."""
        if self._open:
            self._open[-1][3] = max(self._open[-1][3], peak_of())
        Path("/proc/self/clear_refs").write_text("5")

    def wrap(self, owner: Any, name: str, label: Callable[..., str]) -> None:
        method = getattr(owner, name)

        def wrapped(this: Any, *given: Any) -> Any:
            with self.phase(label(*given)):
                return method(this, *given)

        setattr(owner, name, wrapped)


def peak_of() -> float:
    """The most memory of this process since that was last cleared, MB."""
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) / 1024


class Engines:
    """Seconds for which engines have slept, and what making shards took: clock and processor."""

    def __init__(self, seconds: float) -> None:
        """seconds: of each clip and stage."""
        self.seconds = seconds
        self.slept = self.shards = self.shards_cpu = 0.0
        self._lock = threading.Lock()

    def sleep(self, clips: int) -> None:
        time.sleep(clips * self.seconds)
        with self._lock:
            self.slept += clips * self.seconds


def measure(folder: Path, clips: int, server: psutil.Process, chunk: int, batch: int) -> dict[str, Any]:
    """One build of that many clips and one more that finds nothing to do, in this process."""
    from prefect.settings import PREFECT_API_URL

    import flows.build
    from flows.chunk import Chunk
    from flows.legs import LEG_OF
    from flows.opened import context_of
    from flows.settings import BuildSettings, RunSettings

    make_source(folder, clips)
    settings = BuildSettings(
        source=str(folder / "raw"),
        captions=str(folder / "captions.jsonl"),
        out=str(folder / "out"),
        run=RunSettings(batch=batch, sources_batch=batch, files_batch=batch, workers=WORKERS, chunk=chunk),
    )
    engines, phases = Engines(ENGINE_S), Phases(server)
    Chunk.process = stand_in(Chunk.process, engines)  # type: ignore[method-assign, assignment]
    phases.wrap(flows.build.Run, "list_source", lambda: "listing")
    phases.wrap(flows.build.Run, "leg", lambda specs: f"leg {specs[0].name}")
    phases.wrap(flows.build.Run, "whole", lambda stage, part="whole": stage if part == "whole" else f"{stage} {part}")
    with phases.phase("rest"):
        result = flows.build.build(settings)
    assert result.pending == 0 and result.funnel["shard"].accepted == clips, result
    first = {name: list(spent) for name, spent in phases.spent.items()}
    built = [sum(spent[i] for spent in first.values()) for i in (0, 1)]
    leg, stages = first["leg caption"], len(LEG_OF["caption"])
    leg[0] -= engines.slept / WORKERS + engines.shards
    leg[1] -= engines.shards_cpu
    first["making shards"] = [engines.shards, engines.shards_cpu, 0.0, leg[3]]
    with phases.phase("nothing to do"):
        flows.build.build(settings)
    idle = [sum(spent[i] for spent in phases.spent.values()) - built[i] for i in (0, 1)]
    pages = slowest(str(PREFECT_API_URL.value()))
    looked = time.process_time()
    context_of(settings.out).funnel()
    looked = time.process_time() - looked
    names = ("clock_ms", "cpu_ms", "server_cpu_ms")
    return {
        "phases": {
            name: {n: round(1000 * v / clips, 4) for n, v in zip(names, spent, strict=False)} | {"mb": round(spent[3])}
            for name, spent in first.items()
        },
        "overhead_ms": round(1000 * leg[0] / (clips * stages), 4),
        "overhead_cpu_ms": round(1000 * leg[1] / (clips * stages), 4),
        "server_cpu_ms": round(1000 * leg[2] / (clips * stages), 4),
        "peak_mb": max(round(spent[3]) for spent in first.values()),
        "server_mb": round(server.memory_info().rss / 2**20),
        "idle_s": round(idle[0], 2),
        "idle_cpu_s": round(idle[1], 2),
        "status_s": round(looked, 2),
        "pages_s": pages,
        "ui_s": max(pages.values()),
    }


def stand_in(process: Any, engines: Engines | None = None) -> Any:
    """`Chunk.process` with decoding and models left out; engines: that take their time."""
    from benchmarks.setting.rows import payload_of
    from flows.legs import SPECS
    from schemas import Ingested, Row, Tracked
    from schemas.tracks import Track
    from tasks.media.clips import EncodeSettings, encode_clip, encode_mask

    mp4 = encode_clip([np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * FRAMES, Fraction(8), EncodeSettings())
    digest = hashlib.sha256(mp4).hexdigest()
    mask = encode_mask(np.tri(HEIGHT, WIDTH, dtype=bool))
    engines = engines or Engines(0.0)
    made: dict[str, Any] = {stage: payload_of(stage) for stage in ("caption", "propose", "verify", "curate", "review")}
    made["track"] = Tracked(
        height=HEIGHT,
        width=WIDTH,
        tracks=tuple(Track(id=i, masks=(mask,) * FRAMES) for i in ("id1", "id2")),
        tracker="-",
    )

    def instead(self: Any, stage: str, keys: Sequence[str]) -> Iterator[Row[Any]]:
        if stage == "scan":
            yield from process(self, stage, keys)
        elif stage == "shard":
            began, cpu = time.perf_counter(), time.thread_time()
            rows = list(process(self, stage, keys))
            engines.shards += time.perf_counter() - began
            engines.shards_cpu += time.thread_time() - cpu
            yield from rows
        elif stage == "ingest":
            path = f"{self.context.media}/one.mp4"
            if not self.context.folder.exists(path):
                self.context.folder.write(path, mp4)
            for source in self.store("select").payloads(self.store("select").leading_to(keys)):
                clip = clip_from(source, path, digest)
                yield row_of(source.source_id, Ingested(facts=clip.facts, clips=(clip,)))
        else:
            cases = self.cases(keys, SPECS[stage].needs)
            engines.sleep(len(keys))
            for case in cases:
                payload = made[stage]
                if stage == "caption":
                    payload = payload.model_copy(update={"caption": case.clip.source.caption})
                yield row_of(case.clip.clip_id, payload)

    return instead


def row_of(key: str, payload: Any) -> Any:
    from schemas import Row, Status

    return Row(key=key, status=Status.ACCEPTED, seconds=ENGINE_S, payload=payload)


def clip_from(source: Any, path: str, digest: str) -> Any:
    from benchmarks.setting.rows import clip_of

    clip_id = hashlib.sha256(f"clip {source.digest}".encode()).hexdigest()[:16]
    hashes = hashlib.sha512(source.digest.encode()).hexdigest()  # far from all others
    update = {
        "clip_id": clip_id, "source": source, "path": path, "media_digest": digest, "width": WIDTH, "height": HEIGHT,
        "frames": FRAMES, "phash": tuple(hashes[i : i + 16] for i in range(0, 80, 16)),
    }  # fmt: skip
    return clip_of(0).model_copy(update=update)


if __name__ == "__main__":
    main()
