"""Stage `ingest` against plain decoding and encoding: `python -m benchmarks.ingest [--source DIR] [--rounds 3]`.

Ours: `ingest` as the pipeline calls it (child process, digest, every frame decoded, cut detection, resampling, crop,
encoding, hashes, a synced file). Theirs: PyAV decodes every frame, resizes those that the clip shows, and the same
encoder compresses them into memory. They take turns; the best round of each video counts. Wall time and processor time
are both given: on a machine that others use, the second says more. Bar: 0.80.
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil

from schemas import Clip, SourceVideo
from tasks.ingest.stage import IngestSettings, ingest
from tasks.media.clips import encode_clip
from tasks.store.folder import Folder
from tasks.world import render_bucket

BAR = 0.80


Cost = tuple[float, float]
"""Seconds of wall time, and of processor time."""


def processor_s() -> float:
    """Processor time of this process, of the helper processes below it and of the children those have had."""
    times = [psutil.Process().cpu_times()] + [p.cpu_times() for p in psutil.Process().children()]
    helpers = sum(t.children_user + t.children_system for t in times[1:])
    return float(sum(t.user + t.system for t in times) + helpers)


def plain(path: Path, clips: list[Clip], settings: IngestSettings) -> Cost:
    """What PyAV and the encoder need for the same clips, without anything else."""
    began, busy = time.perf_counter(), processor_s()
    wanted = {i for clip in clips for i in clip.window.source_frames}
    pictures = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for i, frame in enumerate(container.decode(stream)):
            if i in wanted:
                array = frame.to_ndarray(format="rgb24", width=settings.width, height=settings.height, threads=1)
                pictures[i] = array.astype(np.uint8, copy=False)
    for clip in clips:
        encode_clip([pictures[i] for i in clip.window.source_frames], Fraction(settings.fps), settings.encode)
    return time.perf_counter() - began, processor_s() - busy


def ours(source: SourceVideo, root: Folder, settings: IngestSettings) -> tuple[Cost, list[Clip]]:
    """What the stage needs, and its clips."""
    began, busy = time.perf_counter(), processor_s()
    (row,) = ingest([source], root, "media", settings)
    if row.payload is None:
        raise SystemExit(f"{source.uris[0]}: {row.reason} {row.detail}")
    return (time.perf_counter() - began, processor_s() - busy), list(row.payload.clips)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder of videos; rendered ones by default")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    settings = IngestSettings()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.source or render_bucket(Path(temporary) / "world", 4, seed=1, broken=False) / "raw"
        root = Folder(f"{temporary}/out")
        mine, theirs, clips = np.zeros(2), np.zeros(2), 0
        for path in sorted(p for p in folder.iterdir() if p.suffix in (".mp4", ".mkv", ".mov", ".webm", ".avi")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            source = SourceVideo(
                source_id=digest[:16], uris=(str(path.absolute()),), digest=digest, size_bytes=path.stat().st_size,
                caption=None, dataset="benchmark",
            )  # fmt: skip
            ours(source, root, settings)  # starts the helper process, which later sources share
            rounds = []
            for _ in range(args.rounds):
                cost, made = ours(source, root, settings)
                rounds.append((cost, plain(path, made, settings)))
            mine += np.min([a for a, _ in rounds], axis=0)
            theirs += np.min([b for _, b in rounds], axis=0)
            clips += len(made)
    wall, processor = theirs / mine
    print(f"ingest {clips / mine[0]:.2f} clips/s, PyAV and the encoder alone {clips / theirs[0]:.2f}: ratio {wall:.2f},"
          f" by processor time {processor:.2f} (bar {BAR:.2f})")  # fmt: skip
    print(json.dumps({"benchmark": "ingest", "clips": clips, "seconds": mine[0], "plain_seconds": theirs[0],
                      "ratio": wall, "processor_ratio": processor, "bar": BAR, "ok": bool(wall >= BAR),
                      "cpus": os.cpu_count()}))  # fmt: skip


if __name__ == "__main__":
    main()
