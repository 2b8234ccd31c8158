"""Peak memory of `evaluate` over a folder of models, at two sizes: more videos and more models must not need more.

    python -m benchmarks.evaluate_memory --small 200x8 --large 2000x8 --kept

The judge is that by tracks; all videos of a model are one tiny file under many names, so that nothing but their number
grows. Each size runs in a process of its own; its peak is what the system saw (ru_maxrss). --kept: all but ten videos
of a model have been judged before (by copies of one row), as in a run that goes on, so that thousands take minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from matrix_train.evaluate.checked.faults import encoded

HIGH, WIDE, FRAMES = 48, 64, 11
FRESH = 10
_CHILD = """
import json, resource, sys
from pathlib import Path
from rich.console import Console
from matrix_train.cli.evaluate import Request, evaluate_command
place = Path(sys.argv[1])
asked = Request(place / "e", "tracks", None, place / "p.jsonl")
found = evaluate_command([place / "v"], asked, Console(quiet=True))
print(json.dumps({"models": len(found["models"]), "videos": found["models"][0]["videos"],
                  "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def lay(place: Path, videos: int, models: int) -> None:
    """A block that goes to another and pushes it, `videos` by `models` times."""
    masks = {}
    for key, ways in {"id1": [2 * min(f, 9) for f in range(FRAMES)], "id2": [22] * FRAMES}.items():
        masks[key] = []
        for x in ways:
            mask = np.zeros((HIGH, WIDE), bool)
            mask[20:40, x : x + 10] = True
            masks[key].append({"size": [HIGH, WIDE], "counts": encoded(mask)})
    (place / "t.tracks.json").write_text(json.dumps({"size": [HIGH, WIDE], "tracks": masks}), encoding="utf-8")
    with av.open(str(place / "one.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        for f in range(FRAMES):
            picture = np.full((HIGH, WIDE, 3), 20 * f, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    line = {
        "prompt": "A man touches a box.", "tracks": "t.tracks.json",
        "instances": [{"id": f"id{n}", "cls": cls, "appearance": cls} for n, cls in ((1, "man"), (2, "box"))],
        "interactions": [{"subject": "id1", "verb": "touch", "object": "id2", "contact": 5, "dynamism": 2}],
    }  # fmt: skip
    names = [f"{k:05}.mp4" for k in range(videos)]
    (place / "p.jsonl").write_text("\n".join(json.dumps(line | {"video": name}) for name in names), encoding="utf-8")
    for model in range(models):
        (place / "v" / f"model_{model}").mkdir(parents=True)
        for name in names:
            os.link(place / "one.mp4", place / "v" / f"model_{model}" / name)


def run(place: Path) -> dict[str, float]:
    """The command in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _CHILD, str(place)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def keep(place: Path, videos: int, models: int) -> None:
    """Rows as of an earlier run, but for the first `FRESH` videos of every model."""
    with tempfile.TemporaryDirectory() as folder:
        lay(Path(folder), 1, 2)
        run(Path(folder))
        row = (Path(folder) / "e" / "model_0" / "judged" / "00000.mp4.json").read_text(encoding="utf-8")
    for model in range(models):
        rows = place / "e" / f"model_{model}" / "judged"
        rows.mkdir(parents=True)
        for k in range(FRESH, videos):
            (rows / f"{k:05}.mp4.json").write_text(row.replace("00000.mp4", f"{k:05}.mp4"), encoding="utf-8")


def peak(size: str, kept: bool) -> dict[str, float]:
    videos, models = map(int, size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        lay(Path(folder), videos, models)
        if kept:
            keep(Path(folder), videos, models)
        began = time.perf_counter()
        found = run(Path(folder))
        assert (found["videos"], found["models"]) == (videos, models)
        return found | {"seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", default="50x2", help="videos x models")
    parser.add_argument("--large", default="500x8")
    parser.add_argument("--kept", action="store_true", help="most have been judged before")
    told = parser.parse_args()
    small, large = peak(told.small, told.kept), peak(told.large, told.kept)
    print(json.dumps({"small": small, "large": large, "ratio": round(large["mib"] / small["mib"], 3)}))


if __name__ == "__main__":
    main()
