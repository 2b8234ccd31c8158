"""Shard writing against plain webdataset: `python -m benchmarks.shards [--samples 400] [--rounds 5] [--out DIR]`.

Both write the same entries to the same folder in turn. `webdataset.TarWriter` only writes; ours also hashes every byte
(SHA-256) and flushes file and folder to disk before it is done. Prints a line a round, then one JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import webdataset

from schemas.dataset import SUFFIXES
from tasks.dataset.tar import TarWriter
from tasks.store.folder import Folder

SIZES = {"mp4": 420_000, "txt": 300, "json": 9_000, "tracks.json": 210_000, "idmap.png": 3_000}
"""Bytes of an ordinary entry: 49 frames of 480 x 720, three tracks at 1.4 KB a mask."""

BAR = 0.70

Samples = list[dict[str, bytes]]


def plain(folder: Path, samples: Samples) -> None:
    """What anyone would write."""
    with (folder / "plain.tar").open("wb") as stream, webdataset.TarWriter(stream, encoder=False) as tar:
        for n, files in enumerate(samples):
            tar.write({"__key__": f"{n:016x}", **files})


def ours(folder: Path, samples: Samples) -> None:
    """As `tasks/shard/stage.py` writes a shard."""
    with Folder(str(folder)).create("ours.tar") as stream, TarWriter(stream) as tar:
        for n, files in enumerate(samples):
            for suffix in SUFFIXES:
                tar.add(f"{n:016x}.{suffix}", files[suffix])


def rate(write: Callable[[Path, Samples], None], folder: Path, samples: Samples) -> float:
    """MB (10^6) of entry data a second."""
    began = time.perf_counter()
    write(folder, samples)
    return sum(len(d) for files in samples for d in files.values()) / 1e6 / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default=None, help="folder on the disk to measure; default: the temporary folder")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    samples = [{k: rng.bytes(n) for k, n in SIZES.items()} for _ in range(args.samples)]
    found: dict[str, list[float]] = {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        for n in range(args.rounds):
            # Who goes first changes, because the second finds the disk's write queue fuller.
            for name, write in (("plain", plain), ("ours", ours))[:: 1 if n % 2 else -1]:
                found[name].append(rate(write, Path(folder), samples))
            print(
                f"round {n + 1}: webdataset {found['plain'][-1]:.0f} MB/s, ours {found['ours'][-1]:.0f} MB/s",
                flush=True,
            )
    middle = {name: statistics.median(rates) for name, rates in found.items()}
    share = middle["ours"] / middle["plain"]
    result = {
        "webdataset_mb_s": round(middle["plain"]),
        "ours_mb_s": round(middle["ours"]),
        "share": round(share, 3),
        "bar": BAR,
        "ok": share >= BAR,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
