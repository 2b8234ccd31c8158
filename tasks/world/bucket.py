"""A raw bucket on disk: `raw/*`, the sidecar `captions.csv`, and the truth, kept apart in `truth/<file name>.json`."""

import multiprocessing
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2

from schemas.truth import Level, VideoTruth
from tasks.errors import UserError
from tasks.world.broken import render_broken
from tasks.world.encode import FORMATS
from tasks.world.film import render_video, save_truth

COLUMNS = ("video", "caption", "dataset", "license")
Progress = Callable[[int, int], None]
"""Called with the number of good videos done and their total."""


def render_bucket(
    out: Path, videos: int, seed: int, level: Level = "plain", broken: bool = True, workers: int = 1,
    progress: Progress | None = None,
) -> Path:  # fmt: skip
    """Render `videos` good videos and, on top of them, one of each broken kind (`tasks/world/broken.py`).

    Video i has the seed `seed * 100_000 + i`; the same arguments give the same bytes whatever `workers` is. Returns
    `out`. Raises UserError when `out` already holds something.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: give a new folder")
    for folder in ("raw", "truth"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    jobs = [(out, i, seed * 100_000 + i, level) for i in range(videos)]
    rows: list[tuple[str, bytes]] = []
    for truth in _each(jobs, workers):
        rows.append((truth.video, (truth.caption or "").encode()))
        if progress:
            progress(len(rows), videos)
    if broken:
        rows += render_broken(out, seed * 100_000 + 90_000, level)
    (out / "captions.csv").write_bytes(sidecar(rows))
    return out


def sidecar(rows: Sequence[tuple[str, bytes]]) -> bytes:
    """The CSV of (file name, caption). Captions are bytes, so that one may be no text at all."""
    lines = [",".join(COLUMNS).encode()]
    for video, caption in rows:
        lines.append(b",".join((_quoted(video.encode()), _quoted(caption), b"world", b"CC0-1.0")))
    return b"\n".join(lines) + b"\n"


def _quoted(cell: bytes) -> bytes:
    return b'"' + cell.replace(b'"', b'""') + b'"' if any(c in cell for c in b',"\r\n') else cell


def _good(job: tuple[Path, int, int, Level]) -> VideoTruth:
    cv2.setNumThreads(1)
    out, index, seed, level = job
    form = random.Random(f"format:{seed}").choice(FORMATS)
    truth = render_video(out, f"clip_{index:04d}.{form.suffix}", seed, level, form)
    save_truth(out, truth)
    return truth


def _each(jobs: list[tuple[Path, int, int, Level]], workers: int) -> Iterator[VideoTruth]:
    if workers <= 1:
        yield from map(_good, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_good, jobs)
