"""How far the judge by tracks answers as the truth does, question by question, on rendered videos with true tracks.

    python -m benchmarks.judge_agreement --videos 60 --seed 31000 [--out matrix_train/evaluate/agreement.json]

Put to each video: what it shows, the same with the roles exchanged, its first frame as a still, and that another who
looks alike does it. Videos that the judge leaves undecided are counted beside the questions. Errors of a tracker come
on top of these. Rules and margins were found on the seeds 20000 to 20099: measure on others.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from matrix_train.evaluate import bias, judge_truth
from matrix_train.evaluate.casting import Undecided
from matrix_train.evaluate.faults import FAULTS
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


def put(truth: VideoTruth) -> Iterator[tuple[str, Judged, Judged | None]]:
    """(what was planted, by truth, by tracks) of all that is put to one video; no third where it stays undecided."""
    for plant in (*bias.plants(truth), bias.Plant("wrong_one", truth, FAULTS["wrong_one"].plant(truth))):
        try:
            said = judge_tracks(judge_truth.prompt_of(plant.asked), plant.seen)
        except Undecided as error:
            print(f"{truth.video}, {plant.name}: {error}")
            said = None
        yield plant.name, judge_truth.judge(plant.asked, plant.seen), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--seed", type=int, default=31000)
    parser.add_argument("--out", type=Path, help="write the table there, as the code ships it")
    told = parser.parse_args()
    truths = (true_video(seed) for seed in range(told.seed, told.seed + told.videos))
    found = [one for truth in truths if truth.triplets for one in put(truth)]
    known = bias.measure((right.answers, said.answers) for _, right, said in found if said)
    names = list(dict.fromkeys(name for name, _, _ in found))
    undecided = {
        name: {"put": len(said), "undecided": said.count(None)}
        for name in names
        if (said := [said for kind, _, said in found if kind == name])
    }
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    table = {
        "judge": JUDGE, "command": f"python -m benchmarks.judge_agreement --videos {told.videos} --seed {told.seed}",
        "date": datetime.now(UTC).date().isoformat(), "commit": commit.stdout.strip(),
        "questions": {f"Q{q}": one.model_dump() for q, one in known.items()}, "undecided": undecided,
    }  # fmt: skip
    for q, one in known.items():
        print(
            f"Q{q}: yes to {one.yes_to_true} of {one.true_asked} that are so, "
            f"no to {one.false_asked - one.yes_to_false} of {one.false_asked} that are not"
        )
    print(f"undecided: {undecided}")
    if told.out:
        told.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(table))


if __name__ == "__main__":
    main()
