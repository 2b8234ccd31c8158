"""How far the judge by tracks answers as the truth does, question by question, on rendered videos with true tracks.

    python -m benchmarks.judge_agreement --videos 40 --seed 7000 [--out matrix_train/evaluate/agreement.json]

Asked of each video: what it shows, the same with the roles exchanged, its first frame as a still, and, where there is
room, that another who looks alike does it. Errors of a tracker come on top of these.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from matrix_train.evaluate import bias, judge_truth
from matrix_train.evaluate.faults import wrong_one
from matrix_train.evaluate.judge_tracks import JUDGE, judge_tracks
from matrix_train.evaluate.scores import Judged
from schemas.truth import VideoTruth
from tasks.world.film import film, no_masks
from tasks.world.staging import make_scene

SIZE, RATE = (360, 240), Fraction(8)


def true_video(seed: int) -> VideoTruth:
    """The truth of one `plain` scene in one shot."""
    scene = make_scene(seed, "plain", size=SIZE, rate=RATE, cut=False)
    masks = no_masks(scene)
    for _ in film(scene, masks):
        pass
    return scene.truth(f"scene_{seed}.mp4", masks)


def pairs(truth: VideoTruth) -> Iterator[tuple[Judged, Judged]]:
    """(by truth, by tracks) of every question that is put to one video."""
    for plant in (*bias.plants(truth), bias.Plant(truth, wrong_one(truth))):
        prompt = judge_truth.prompt_of(plant.asked)
        try:
            said = judge_tracks(prompt, plant.seen)
        except ValueError as error:  # a tie
            print(f"{truth.video}: {error}")
            continue
        yield judge_truth.judge(plant.asked, plant.seen), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument("--out", type=Path, help="write the table there, as the code ships it")
    told = parser.parse_args()
    truths = (true_video(seed) for seed in range(told.seed, told.seed + told.videos))
    known = bias.measure(pair for truth in truths if truth.triplets for pair in pairs(truth))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    found = {
        "judge": JUDGE, "command": f"python -m benchmarks.judge_agreement --videos {told.videos} --seed {told.seed}",
        "date": datetime.now(UTC).date().isoformat(), "commit": commit.stdout.strip(),
        "questions": {f"Q{q}": one.model_dump() for q, one in known.items()},
    }  # fmt: skip
    for q, one in known.items():
        print(
            f"Q{q}: yes to {one.yes_to_true} of {one.true_asked} that are so, "
            f"no to {one.false_asked - one.yes_to_false} of {one.false_asked} that are not"
        )
    if told.out:
        told.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
