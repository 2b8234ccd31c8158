"""How far the judge by tracks answers as the truth does, question by question, on rendered videos.

    python -m benchmarks.judge_agreement --videos 60 --seed 31000 [--tracker embedded] [--out FILE]

Put to each video: what it shows, the same with the roles exchanged, its first frame as a still, and that another who
looks alike does it. Without --tracker tracks are the true ones, and errors of a tracker come on top. With it they are
made as for anyone's video, from the frames and the ID map of the first one, in which everyone who is seen there stands;
the other who looks alike is painted in. Not counted beside the questions: videos that the judge leaves undecided, and
those in which someone who is asked about comes in later, so that it has no track. Rules and margins were found on the
seeds 20000 to 20099: measure on others. --out writes the table into its place in the file, as the code ships it
(matrix_train/evaluate/judge/agreement.json).
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from matrix_train.evaluate.checked import bias
from matrix_train.evaluate.checked.faults import FAULTS, seen
from matrix_train.evaluate.checked.painting import painted
from matrix_train.evaluate.judge import by_truth
from matrix_train.evaluate.judge.agreement import TRUE
from matrix_train.evaluate.judge.by_tracks import JUDGE, filmed, judge_tracks
from matrix_train.evaluate.judge.casting import Undecided
from matrix_train.evaluate.profile import profile_file, tracker_of
from matrix_train.evaluate.protocol.prompt import Asked, Prompt
from matrix_train.evaluate.protocol.scores import Judged
from matrix_train.evaluate.seen.footage import Footage, Measures
from matrix_train.evaluate.seen.masks import follow, read_guide
from matrix_train.evaluate.seen.tracks import Film
from matrix_train.files import write_whole
from matrix_train.sample.trackers import Trackers
from schemas.idmap import encode_id_map, id_map
from schemas.rle import fill, run_lengths
from schemas.truth import VideoTruth
from tasks.world.film import film, no_masks
from tasks.world.staging import make_scene

SIZE, RATE = (360, 240), Fraction(8)
UNTRACKED = "untracked"

Found = tuple[str, Judged, Judged | str]
"""What was planted, what the truth says of it, and what the tracks, or why they say nothing: undecided, untracked."""


def rendered(seed: int) -> tuple[VideoTruth, Footage]:
    """One `plain` scene in one shot."""
    scene = make_scene(seed, "plain", size=SIZE, rate=RATE, cut=False)
    masks = no_masks(scene)
    frames = np.stack([picture for picture, _ in film(scene, masks)])
    truth = scene.truth(f"scene_{seed}.mp4", masks)
    return truth, footage_of(truth, frames)


def footage_of(truth: VideoTruth, frames: NDArray[np.uint8]) -> Footage:
    nothing = Measures(smoothness=0, dynamics=0, sharpness=0)  # is not looked at here
    kept = tuple(range(len(frames)))
    return Footage(len(frames), truth.fps, truth.height, truth.width, kept, frames, nothing)


def put(truth: VideoTruth, footage: Footage, trackers: Trackers | None = None) -> Iterator[Found]:
    """All that is put to one video. Tracks are true without `trackers`."""
    edit = FAULTS["wrong_one"].edit(truth)
    films: dict[str, Film] = {}
    for plant in (*bias.plants(truth), bias.Plant("wrong_one", truth, seen(truth, edit), edit=edit)):
        shown = plant.name if plant.still or plant.edit else TRUE  # others ask something else about the same pictures
        said: Judged | str
        try:
            if shown not in films:
                films[shown] = plant.seen if trackers is None else made(plant, truth, footage, trackers)
            said = judge_tracks(by_truth.prompt_of(plant.asked), films[shown])
        except ValueError as error:
            print(f"{truth.video}, {plant.name}: {error}")
            said = "undecided" if isinstance(error, Undecided) else UNTRACKED
        yield plant.name, by_truth.judge(plant.asked, plant.seen), said


def made(plant: bias.Plant, truth: VideoTruth, footage: Footage, trackers: Trackers) -> Film:
    """What is known of anyone's video: its frames, who stands where in the first, and tracks made of these.

    ValueError where someone whom it is asked about does not stand there.
    """
    shown = painted(truth, plant.edit, footage) if plant.edit else footage
    if plant.still:
        shown = replace(footage, frames=np.repeat(footage.frames[:1], footage.count, axis=0))
    size = footage.height, footage.width
    first = {
        i.id: fill(run_lengths(rle, *size), *size) for i in plant.seen.instances if (rle := i.masks[0]) is not None
    }
    named = by_truth.prompt_of(plant.seen if plant.seen.triplets else plant.asked)
    about = {i.id for i in named.instances} | first.keys()
    everyone = tuple(Asked(id=i.id, cls=i.cls, appearance=i.phrase) for i in plant.seen.instances if i.id in about)
    prompt = Prompt(**dict(named) | {"instances": everyone, "idmap": "first.png"})
    with TemporaryDirectory() as folder:
        write_whole(Path(folder) / "first.png", encode_id_map(id_map(first, *size)))
        tracks = follow(read_guide(prompt, Path(folder)), shown, trackers)
    return filmed(prompt, tracks, *size, footage.fps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--seed", type=int, default=31000)
    parser.add_argument("--tracker", metavar="PROFILE", help="a file or name of a profile; embedded: needs no model")
    parser.add_argument("--out", type=Path, help="write the table there, as the code ships it")
    told = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    profile = profile_file(told.tracker) if told.tracker not in (None, "embedded") else None
    trackers = Trackers(profile) if told.tracker else None
    videos = (rendered(seed) for seed in range(told.seed, told.seed + told.videos))
    found = [one for truth, footage in videos if truth.triplets for one in put(truth, footage, trackers)]
    known = bias.measure((right.answers, said.answers) for _, right, said in found if isinstance(said, Judged))
    names = list(dict.fromkeys(name for name, _, _ in found))
    said_of = {name: [said for kind, _, said in found if kind == name] for name in names}
    counts = {
        name: {"put": len(said), "undecided": said.count("undecided"), UNTRACKED: said.count(UNTRACKED)}
        for name, said in said_of.items()
    }
    command = f"python -m benchmarks.judge_agreement --videos {told.videos} --seed {told.seed}"
    table = {
        "judge": JUDGE, "command": command + (f" --tracker {told.tracker}" if told.tracker else ""),
        "date": datetime.now(UTC).date().isoformat(), "commit": commit.stdout.strip(),
        "questions": {f"Q{q}": one.model_dump() for q, one in known.items()}, "put": counts,
    }  # fmt: skip
    for q, one in known.items():
        print(
            f"Q{q}: yes to {one.yes_to_true} of {one.true_asked} that are so, "
            f"no to {one.false_asked - one.yes_to_false} of {one.false_asked} that are not"
        )
    print(f"beside these: {counts}")
    if told.out:
        tables = json.loads(told.out.read_text(encoding="utf-8")) if told.out.exists() else {}
        tables[tracker_of(profile) if told.tracker else TRUE] = table
        write_whole(told.out, json.dumps(tables, indent=1) + "\n")
    print(json.dumps(table))


if __name__ == "__main__":
    main()
