"""What SGA and SPA do to attention: the tiny model on world shards, held-out clips, many seeds.

    python -m benchmarks.effect --dataset build/demo/out/dataset/<fingerprint> --folder build/effect --jobs 2

The main arms take λ, map, prior, stride and LoRA's blocks from the 5B recipe (`benchmarks.effect.arms`). A seed draws
the model's first weights, the order of the data and all noise; its model is then trained as a base that makes video
(`benchmarks.effect.base_model`), and all arms start from that. Prints a table of means with paired differences to LoRA
alone, then one JSON object; writes `docs/effect.png`. What is on record (`--record`, a line a run) is not made again,
so that the work may be done in several sittings, and by machines that come and go: the repository keeps the record.
Seeds that are not whole are left out. `--set` changes the configuration of every arm: give another `--folder` and
`--record` then.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.effect.arms import ALONE, TINY, Settings, arms
from benchmarks.effect.record import Record
from benchmarks.effect.report import SHOWN, differences, draw, table


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(str(__doc__))
    parser.add_argument("--report", action="store_true", help="report what is there, and make nothing")
    parser.add_argument("--picture", type=Path, default=Path("docs/effect.png"))
    options = parser.parse_args(argv)
    chosen = arms()
    record = record_of(options)
    if not options.report:
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda seed: trials_of(seed, chosen, options, record), range(options.seeds)))
    there = record.read()
    whole = [seed for seed in range(options.seeds) if all((arm, seed) in there for arm in chosen)]
    if not whole:
        raise SystemExit(f"no seed is whole in {record.path}: run without --report first")
    values = {arm: record.values(arm, whole) for arm in chosen}
    bases = ["LoRA alone", *ALONE.values()]
    found = differences(values, {arm: ALONE.get(arm, bases[0]) for arm in chosen if arm not in bases})
    print(f"{len(whole)} seeds; beside each mean its difference to LoRA alone, paired, with the 95 % interval\n")
    print(table(values, found))
    title = f"Difference to LoRA alone after training, {len(whole)} seeds: a dot a seed, mean and 95 % interval"
    draw(found, SHOWN, title, options.picture)
    told = {arm: {name: asdict(one) for name, one in own.items()} for arm, own in found.items()}
    print(json.dumps({"seeds": whole, "values": values, "differences": told}))


def parser_of(about: str) -> argparse.ArgumentParser:
    """What all runs are told."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--base-steps", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--record", type=Path, help="FOLDER/measured.jsonl where it is not given")
    return parser


def record_of(options: argparse.Namespace) -> Record:
    """What is on record of this data set with these settings."""
    of = {
        "samples": digest_of(samples_of(Path(options.dataset))), "steps": options.steps,
        "base_steps": options.base_steps, "sets": options.sets, "arms": digest_of(arms()),
    }  # fmt: skip
    return Record(options.record or options.folder / "measured.jsonl", of)


def samples_of(dataset: Path) -> list[dict[str, object]]:
    """What its index says of every sample, but for where that lies: the same clips may be built in another folder."""
    table = pq.read_table(dataset / "index.parquet").drop_columns(["shard", "offset", "bytes", "uri"])
    return table.sort_by("key").to_pylist()


def digest_of(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:12]


def place(folder: Path, arm: str, seed: int) -> Path:
    """The run of an arm and seed."""
    return folder / f"seed{seed}" / "".join(letter if letter.isalnum() else "-" for letter in arm)


def trials_of(seed: int, chosen: Mapping[str, Settings], options: argparse.Namespace, record: Record) -> None:
    """What the seed's arms start from, then every arm that is not on record."""
    wanted = {arm: settings for arm, settings in chosen.items() if (arm, seed) not in record.read()}
    if not wanted:
        return
    make_base(seed, options)
    for arm, settings in wanted.items():
        out = place(options.folder, arm, seed)
        sets = of_trial(seed, settings, out, options)
        run(["matrix_train", "fit", str(TINY), "--resume", "auto"], sets, f"{arm}, seed {seed}")
        record.add(arm, seed, out)


def make_base(seed: int, options: argparse.Namespace) -> None:
    """The seed's random model, its cache and its base model, where they are not there yet."""
    beside = options.folder / f"seed{seed}"
    same = of_seed(seed, options)
    if not (beside / "base").exists():
        sets = same | {"model.path": beside / "model", "train.out": beside / "run"}
        run(["matrix_train", "fit", str(TINY), "--precompute"], sets, f"cache, seed {seed}")
        steps = ["--steps", str(options.base_steps), "--out", str(beside / "base")]
        run(["benchmarks.effect.base_model", str(TINY), *steps], sets, f"base model, seed {seed}")


def of_seed(seed: int, options: argparse.Namespace) -> Settings:
    """What all runs of a seed are set to."""
    given: Settings = dict(word.split("=", 1) for word in options.sets)
    cache = options.folder / f"seed{seed}" / "cache"
    return given | {"data.dataset": options.dataset, "train.cache": cache, "train.seed": seed}


def of_trial(seed: int, arm: Settings, out: Path, options: argparse.Namespace) -> Settings:
    """What one run is set to."""
    return of_seed(seed, options) | arm | {
        "model.path": options.folder / f"seed{seed}" / "base", "train.out": out, "train.steps": options.steps,
        "log.to": "[]", "log.every": 10, "checkpoint.every": 0, "validation.every": options.steps,
        "validation.videos": 0, "validation.clips": 16,
    }  # fmt: skip


def run(command: list[str], sets: Settings, what: str) -> None:
    """`python -m` this, with the settings; SystemExit with the end of what it said where it fails."""
    given = [part for name, value in sets.items() for part in ("--set", f"{name}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", *command, *given],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{what}: {done.stderr[-2000:]}")
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
