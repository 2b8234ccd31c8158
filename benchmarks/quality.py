"""The pipeline against the world's truth: `python -m benchmarks.quality --videos 200 --seed 50000 --level plain`.

Renders videos without broken ones, builds them with the local profile as `matrix_data build` does, and prints the score
beside its bars. Seeds of a run are `seed` and after; give ones that nobody has tuned on.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARS = {"triplet_f1": 0.95, "anchors_right": 0.95, "mean_jf": 0.90, "accepted_share": 0.80}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--seed", type=int, default=50_000)
    parser.add_argument("--level", choices=("plain", "hard"), default="plain")
    parser.add_argument("--folder", type=Path, help="keep everything here instead of in a temporary folder")
    given = parser.parse_args()
    if given.folder:
        found = measure(given.folder, given.videos, given.seed, given.level)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), given.videos, given.seed, given.level)
    score = found["score"]
    figures = ", ".join(f"{name} {score[name]:.3f} (bar {bar:.2f})" for name, bar in BARS.items())
    print(f"{given.level}, {given.videos} videos: {figures}, id_switches {score['id_switches']} (bar 0)")
    print(json.dumps(found))


def measure(folder: Path, videos: int, seed: int, level: str) -> dict[str, object]:
    """Render, build and score; returns the score without its lists, and seconds."""
    from tasks.world import render_bucket

    began = time.perf_counter()
    world, out = folder / "world", folder / "out"
    render_bucket(world, videos=videos, seed=seed, level=level, broken=False, workers=2)  # type: ignore[arg-type]
    rendered = time.perf_counter()
    captions = next(world.glob("captions.*"))
    _matrix_data("build", str(world / "raw"), "--captions", str(captions), "--out", str(out))
    built = time.perf_counter()
    score = _matrix_data("score", str(out), "--truth", str(world))
    for line in score.pop("problems"):
        print(line, file=sys.stderr)
    return {
        "videos": videos,
        "seed": seed,
        "level": level,
        "score": score,
        "render_s": round(rendered - began, 1),
        "build_s": round(built - rendered, 1),
    }


def _matrix_data(*arguments: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-m", "flows.cli", *arguments, "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"matrix_data {arguments[0]} ended with {done.returncode}")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
