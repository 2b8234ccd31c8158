"""The logic around the models, proven by models that know the truth: `python -m benchmarks.perfect --videos 64`.

Renders `plain` videos, ingests and captions them once, and grounds, tracks and curates them again and again with a
perfect detector, verifier and tracker that err by a dial. Prints a table a dial; docs/engines/perfect.md explains them.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.settings import BuildSettings
from tasks.engines.embedded.verifier import EmbeddedVerifier
from tasks.world import render_bucket
from tests.tasks.engines.perfect.drifts import KINDS
from tests.tasks.engines.perfect.models import NO_ERROR, BlindVerifier, Dial
from tests.tasks.engines.perfect.running import World, anchored, caught

CHANCES = {"missed": (0.1, 0.3, 0.6), "swapped": (0.1, 0.3, 0.6), "wrong": (0.05, 0.1, 0.2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--seed", type=int, default=820_000)
    parser.add_argument("--folder", type=Path, help="keep everything here; rendered videos found here are used again")
    given = parser.parse_args()
    if given.folder:
        found = measure(given.folder, given.videos, given.seed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), given.videos, given.seed)
    print(json.dumps(found))


def measure(folder: Path, videos: int, seed: int) -> dict[str, Any]:
    """All tables, printed on the way."""
    began = time.perf_counter()
    raw = folder / "world"
    if not raw.exists():
        render_bucket(raw, videos=videos, seed=seed, level="plain", broken=False, workers=2)
    settings = BuildSettings(source=str(raw / "raw"), captions=str(raw / "captions.csv"), out=str(folder / "out"))
    world = World(raw, settings)
    world.begin()
    figures = {
        "no_error": no_error(world),
        "boxes": boxes(world),
        "verdicts": verdicts(world),
        "drift": drift(world),
    }
    return {"videos": len(world.truths), **figures, "seconds": round(time.perf_counter() - began)}


def no_error(world: World) -> dict[str, Any]:
    """Bars: F1 1, anchors 1, J&F ≥ .99, no switch."""
    build = world.go()
    score, tracks, anchors = world.score(build), caught(build, world), anchored(build, world)
    print("no error")
    print("  " + "\n  ".join([*score.lines(), *score.problems]))
    print(f"  anchors recovered {anchors.recovered:.3f} of {anchors.wanted}")
    print(
        f"  curate drops {tracks.honest_dropped} of {tracks.honest} true tracks: {dict(tracks.false_faults)}",
        flush=True,
    )
    figures = score.model_dump(include={
        "triplet_f1", "anchors_right", "mean_j", "mean_f", "mean_jf", "id_switches", "accepted_share", "good_videos",
        "anchors", "tracks",
    })  # fmt: skip
    return {**figures, "recovered": anchors.recovered, "true": tracks.honest, "true_dropped": tracks.honest_dropped}


def boxes(world: World) -> list[dict[str, Any]]:
    """Missed and swapped boxes; the share of IDs that get the right anchor. Bar: ≥ .95 at 10 % swapped.

    Swapped ones are put to the embedded verifier too, and to nobody: to a blind one.
    """
    perfect: dict[str, Any] = {"perfect": None}
    every = {**perfect, "embedded": EmbeddedVerifier(), "blind": BlindVerifier()}
    dials = [(NO_ERROR, every)]
    dials += [(Dial(missed=chance), perfect) for chance in CHANCES["missed"]]
    dials += [(Dial(swapped=chance), every) for chance in CHANCES["swapped"]]
    print(
        "boxes       share of IDs that get the right anchor, by verifier (of IDs with a double: boxes can be swapped)"
    )
    rows = []
    for dial, verifiers in dials:
        row: dict[str, Any] = {"missed": dial.missed, "swapped": dial.swapped}
        shown = []
        for name, verifier in verifiers.items():
            build = world.go(dial, verifier, stages=("propose", "verify"))
            ids, doubled = anchored(build, world), anchored(build, world, doubles_only=True)
            row[name], row[f"{name}_doubled"] = asdict(ids), asdict(doubled)
            shown.append(f"{name} {ids.recovered:.3f} ({doubled.recovered:.3f}), {ids.wrong} wrong")
        print(f"  missed {dial.missed:.2f} swapped {dial.swapped:.2f}   {'   '.join(shown)}", flush=True)
        rows.append(row)
    print(f"  {ids.wanted} IDs, {doubled.wanted} of them with a double")
    return rows


def verdicts(world: World) -> list[dict[str, Any]]:
    """Wrong verdicts: what they do to anchors, and which of the tracks that begin on the wrong thing curate drops."""
    print("verdicts    IDs with the right · a wrong anchor · no anchor; wrong tracks that curate drops; clips accepted")
    rows = []
    for wrong in CHANCES["wrong"]:
        build = world.go(Dial(wrong=wrong))
        a, tracks, tally = anchored(build, world), caught(build, world), build.survey().tally("curate")
        captioned = build.survey().tally("propose").arrived
        print(
            f"  wrong {wrong:.2f}   {a.right / a.wanted:.3f} · {a.wrong / a.wanted:.3f} · "
            f"{1 - (a.right + a.wrong) / a.wanted:.3f}   {tracks.bad_dropped} of {tracks.bad}   "
            f"{tally.accepted} of {captioned}",
            flush=True,
        )
        rows.append({
            "wrong": wrong, "ids": a.wanted, "right": a.right, "wrong_anchors": a.wrong, "bad": tracks.bad,
            "bad_dropped": tracks.bad_dropped, "accepted": tally.accepted, "clips": captioned,
        })  # fmt: skip
    return rows


def drift(world: World) -> list[dict[str, Any]]:
    """Half of all tracks drift, one kind a run; how many of them curate drops, and how many true ones with them."""
    print("drift       bad tracks, recall, precision; true tracks dropped; faults found")
    rows = []
    for kind in KINDS:
        c = caught(world.go(Dial(drifted=0.5, drift=kind)), world)
        print(
            f"  {kind:<8} {c.bad:3d}   {c.recall:.3f}   {c.precision:.3f}   {c.honest_dropped} of {c.honest}   "
            f"{dict(c.faults.most_common())}",
            flush=True,
        )
        for line in c.missed:
            print(f"    missed {line}")
        rows.append({
            "kind": kind, "bad": c.bad, "recall": round(c.recall, 4), "precision": round(c.precision, 4),
            "slight": c.slight, "slight_dropped": c.slight_dropped, "true": c.honest, "true_dropped": c.honest_dropped,
            "faults": dict(c.faults),
        })  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
