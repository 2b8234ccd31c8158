"""Kills builds at random moments and holds the shards against an undisturbed build: `python -m benchmarks.kill`.

Each attempt runs in a process group of its own; some time after it has begun work the whole group gets SIGKILL, and the
next attempt resumes. A build that ends before its kill is compared, and a fresh one is begun until there were enough
kills. `--what` kills parts of a production set-up instead (benchmarks/setting/kill_parts.py).
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.setting.prefect_server import prefect_server

SMALL = [
    word
    for setting in ("run.batch=2", "ingest.height=240", "ingest.width=352", "ingest.frames=17", "ingest.fps=4")
    for word in ("--set", setting)
]
"""Small batches for many moments between writes, and small clips, so that forty kills end within minutes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="of builds, or of each part")
    parser.add_argument("--what", nargs="+", help="worker server services postgres redis ray")
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what:
        from benchmarks.setting.kill_parts import kill_parts_and_compare

        with tempfile.TemporaryDirectory() as folder:
            for line in kill_parts_and_compare(Path(folder), given.what, given.kills, given.videos, given.seed):
                print(json.dumps(line), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder, prefect_server(Path(folder) / "prefect") as env:
        from tasks.world import render_bucket

        world = render_bucket(Path(folder) / "world", given.videos, given.seed, broken=True, workers=2)
        found = kill_and_compare(Path(folder), world, given.kills, given.seed, env) | {"videos": given.videos}
    print(f"kill -9: {found['kills']} kills over {found['builds']} builds, identical: {found['identical']}")
    print(json.dumps(found))


def kill_and_compare(folder: Path, world: Path, kills: int, seed: int, env: dict[str, str]) -> dict[str, object]:
    """Build a rendered bucket once in peace, then build it under kills until there were `kills` of them.

    `env` points at a Prefect server outside the killed group, so that an attempt starts in seconds.
    """
    raw, captions = world / "raw", next(world.glob("captions.*"))
    rng = random.Random(seed)
    done = builds = 0
    # Moments are drawn over half of an undisturbed build on this machine, as busy as it is: an attempt gets somewhere,
    # and few get to the end.
    span = seconds_of_work(start(raw, captions, folder / "calm", env), folder / "calm")
    calm = shard_bytes(folder / "calm")
    identical = True
    while done < kills:
        builds += 1
        out = folder / f"killed-{builds}"
        while done < kills and _killed(start(raw, captions, out, env), out, rng.uniform(0.0, span / 2)):
            done += 1
        _finish(start(raw, captions, out, env))
        identical &= shard_bytes(out) == calm
    return {
        "kills": done, "builds": builds, "identical": identical, "files": len(calm), "calm_seconds": round(span, 1)
    }  # fmt: skip


def shard_bytes(out: Path) -> dict[str, str]:
    """sha256 of every file of the dataset below `out`, by name."""
    files = sorted(p for p in (out / "dataset").rglob("*") if p.is_file())
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def start(
    raw: Path, captions: Path, out: Path, env: dict[str, str], more: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """A build with small batches, in a process group of its own."""
    command = [sys.executable, "-m", "flows.cli", "build", str(raw), "--captions", str(captions), "--out", str(out)]
    return subprocess.Popen(
        [*command, *SMALL, *more],
        env=env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _finish(build: subprocess.Popen[bytes]) -> None:
    _, errors = build.communicate()
    if build.returncode:
        raise RuntimeError(f"a build ended with {build.returncode}: {errors.decode()[-2000:]}")


def _killed(build: subprocess.Popen[bytes], out: Path, delay: float) -> bool:
    """Kill the group `delay` seconds after it began work; False when the build ended before that."""
    wait_for_work(build, out)
    ends = time.monotonic() + delay
    while build.poll() is None and time.monotonic() < ends:
        time.sleep(0.005)
    if build.poll() is not None:
        _finish(build)
        return False
    os.killpg(build.pid, signal.SIGKILL)
    build.communicate()
    return True


def wait_for_work(build: subprocess.Popen[bytes], out: Path) -> None:
    """Until the build has saved its plan, or ended."""
    began = time.time()
    saved = out / "work" / "build.json"
    while build.poll() is None and not (saved.exists() and saved.stat().st_mtime > began - 1):
        time.sleep(0.01)


def seconds_of_work(build: subprocess.Popen[bytes], out: Path) -> float:
    """From the saved plan to the end of an undisturbed build."""
    wait_for_work(build, out)
    began = time.monotonic()
    _finish(build)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
