"""Cuts found at exactly their frame: `python -m benchmarks.cuts --videos 40 --seed 777000 --level plain`.

Renders videos of two shots each, one by one, and runs the pipeline's cut detection over every frame, then
PySceneDetect's content detector alone. A video is right when a scene begins at its first frame and at its cut,
and nowhere else.
"""

import argparse
import json
import random
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tasks.ingest.child import scenes
from tasks.ingest.decode import Decoder
from tasks.ingest.stage import IngestSettings
from tasks.world.bucket import FORMATS
from tasks.world.encode import write_video
from tasks.world.film import film, no_masks
from tasks.world.scene import Level
from tasks.world.staging import make_scene

WAYS = {"both": IngestSettings(), "content alone": IngestSettings(scene_min_change=1000.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--seed", type=int, default=777_000)
    parser.add_argument("--level", choices=("plain", "hard"), default="plain")
    given = parser.parse_args()
    right: Counter[str] = Counter()
    with ProcessPoolExecutor(2) as pool:
        for seed, found in pool.map(judge, range(given.seed, given.seed + given.videos), [given.level] * given.videos):
            right.update(way for way, is_right in found.items() if is_right)
            if not found["both"]:
                print(f"seed {seed}: not right")
    print(json.dumps({"videos": given.videos, "level": given.level, "right": {way: right[way] for way in WAYS}}))


def judge(seed: int, level: Level) -> tuple[int, dict[str, bool]]:
    """The seed, and per way whether the scenes begin where they should."""
    scene = make_scene(seed, level, cut=True)
    form = random.Random(f"format:{seed}").choice(FORMATS)
    second = scene.shots[1].start
    cut = next(n for n in range(scene.count) if float(n / scene.rate) >= second - 1e-9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"cut.{form.suffix}"
        write_video(path, film(scene, no_masks(scene)), scene.rate, form, 0.0)
        return seed, {
            way: [shown.index for shown, begins in scenes(Decoder(str(path)), settings) if begins] == [0, cut]
            for way, settings in WAYS.items()
        }


if __name__ == "__main__":
    main()
