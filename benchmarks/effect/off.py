"""Decoders that start nats away from the maps: `python -m benchmarks.effect.off --dataset … --folder … --seeds 3`.

Each seed's "+ both" again with maps that lie NATS higher, with the level calibrated at step 0 and without; beside the
undisturbed run that `benchmarks.effect` has put on record.
"""

from rich.console import Console

from benchmarks.effect.__main__ import make_base, of_trial, parser_of, place, record_of
from benchmarks.effect.arms import TINY, arms
from matrix_train.attention.maps import attend
from matrix_train.config import load_config
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.run import Run

NATS, ARM = 4.0, "+ both"


def main() -> None:
    options = parser_of(str(__doc__)).parse_args()
    seeds, record = range(options.seeds), record_of(options)
    if missing := [seed for seed in seeds if (ARM, seed) not in record.read()]:
        raise SystemExit(f"{record.path} has no {ARM!r} of seed {missing[0]}: run benchmarks.effect first")
    for calibrated in (True, False):
        name = f"off by {NATS:g} nats, {'calibrated' if calibrated else 'as it is'}"
        for seed in seeds:
            if (name, seed) not in record.read():
                make_base(seed, options)
                out = place(options.folder, name, seed)
                sets = of_trial(seed, arms()[ARM] | {"align.calibrate": calibrated}, out, options)
                disturbed([f"{key}={value}" for key, value in sets.items()])
                record.add(name, seed, out)
        calm = record.values(ARM, seeds)
        for measure, values in record.values(name, seeds).items():
            pairs = zip(values, calm[measure], strict=True)
            print(f"{name}: {measure} " + ", ".join(f"{a:.4f}/{b:.4f}" for a, b in pairs))


def disturbed(sets: list[str]) -> None:
    """The run, with every map but those that only measure lifted."""
    run = Run(load_config(TINY, sets), make_accelerator(load_config(TINY, sets)), Console(quiet=True)).start(True)

    def read(q, k, v, taps):  # type: ignore[no-untyped-def]
        given, maps = attend(q, k, v, taps)
        lift = 0.0 if taps is None or taps.mode == "softmax" else NATS
        return given, {direction: values + lift for direction, values in maps.items()}

    run.parts.backbone.collector.read = read
    run.train()


if __name__ == "__main__":
    main()
