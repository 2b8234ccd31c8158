"""Decoders that start nats away from the maps: `python -m benchmarks.effect.off --dataset … --folder … --seeds 3`.

Each seed's "+ both" again with maps that lie NATS higher, with the level calibrated at step 0 and without; beside the
undisturbed run, which `benchmarks.effect` has left in the folder.
"""

from pathlib import Path

from rich.console import Console

from benchmarks.effect.__main__ import last_values, of_trial, parser_of, place
from benchmarks.effect.arms import TINY, arms
from matrix_train.attention.maps import attend
from matrix_train.config import load_config
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.run import Run

NATS, ARM = 4.0, "+ both"


def main() -> None:
    options = parser_of(str(__doc__)).parse_args()
    seeds = range(options.seeds)
    for calibrated in (True, False):
        name = f"off by {NATS:g} nats, {'calibrated' if calibrated else 'as it is'}"
        for seed in seeds:
            out = place(options.folder, name, seed)
            if not (out / "done").exists():
                sets = of_trial(seed, arms()[ARM] | {"align.calibrate": calibrated}, out, options)
                disturbed(out, [f"{key}={value}" for key, value in sets.items()])
        for measure, values in last_values(options.folder, name, seeds).items():
            calm = last_values(options.folder, ARM, seeds)[measure]
            print(f"{name}: {measure} " + ", ".join(f"{a:.4f}/{b:.4f}" for a, b in zip(values, calm, strict=True)))


def disturbed(out: Path, sets: list[str]) -> None:
    """The run, with every map but those that only measure lifted."""
    run = Run(load_config(TINY, sets), make_accelerator(load_config(TINY, sets)), Console(quiet=True)).start(True)

    def read(q, k, v, taps):  # type: ignore[no-untyped-def]
        given, maps = attend(q, k, v, taps)
        lift = 0.0 if taps is None or taps.mode == "softmax" else NATS
        return given, {direction: values + lift for direction, values in maps.items()}

    run.parts.backbone.collector.read = read  # type: ignore[attr-defined]
    run.train()
    (out / "done").touch()


if __name__ == "__main__":
    main()
