"""Peak memory of `evaluate` over a folder of models, at two sizes: more videos and more models must not need more.

    python -m benchmarks.evaluate_memory --small 50x2 --large 500x8

The judge is that by tracks; all videos of a model are one tiny file under many names, so that nothing but their number
grows. Each size runs in a process of its own; its peak is what the system saw (ru_maxrss).
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

from matrix_train.evaluate.faults import encoded

HIGH, WIDE, FRAMES = 48, 64, 11
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
        "instances": [{"id": f"id{k}", "cls": cls, "appearance": cls} for k, cls in enumerate(("man", "box"), 1)],
        "interactions": [{"subject": "id1", "verb": "touch", "object": "id2", "contact": 5, "dynamism": 2}],
    }  # fmt: skip
    names = [f"{k:05}.mp4" for k in range(videos)]
    (place / "p.jsonl").write_text("\n".join(json.dumps(line | {"video": name}) for name in names), encoding="utf-8")
    for model in range(models):
        (place / "v" / f"model_{model}").mkdir(parents=True)
        for name in names:
            os.link(place / "one.mp4", place / "v" / f"model_{model}" / name)


def peak(size: str) -> dict[str, float]:
    videos, models = map(int, size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        lay(Path(folder), videos, models)
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", _CHILD, folder], capture_output=True, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        assert (found["videos"], found["models"]) == (videos, models)
        return found | {"seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", default="50x2", help="videos x models")
    parser.add_argument("--large", default="500x8")
    told = parser.parse_args()
    small, large = peak(told.small), peak(told.large)
    print(json.dumps({"small": small, "large": large, "ratio": round(large["mib"] / small["mib"], 3)}))


if __name__ == "__main__":
    main()
