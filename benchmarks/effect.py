"""What SGA and SPA do to attention: the tiny model on world shards, held-out clips, several seeds.

    python -m benchmarks.effect --dataset build/demo/out/dataset/<fingerprint> --folder build/effect --jobs 2

Arms: LoRA alone, + SGA, + SPA, both; and both at other λ for the trade-off with the diffusion loss. A seed draws the
model's random weights, the order of the data and all noise. Prints a table, then one JSON object; writes
`docs/effect.png`. Runs that are there already are not run again.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CONFIG = Path(__file__).parents[1] / "configs/tiny.yaml"
SGA, SPA = 0.3, 0.15
ARMS = {"LoRA alone": (0.0, 0.0), "+ SGA": (SGA, 0.0), "+ SPA": (0.0, SPA), "+ SGA + SPA": (SGA, SPA)}
SCALES = (0.1, 1.0, 10.0)
"""λ of both losses in the trade-off, as multiples of the arms'."""

Curves = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class Trial:
    """One run of `matrix_train fit`."""

    arm: str
    seed: int
    sga: float
    spa: float

    @property
    def name(self) -> str:
        return f"sga{self.sga:g}-spa{self.spa:g}-seed{self.seed}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--picture", type=Path, default=Path("docs/effect.png"))
    options = parser.parse_args(argv)
    trials = [Trial(arm, seed, *scales) for seed in range(options.seeds) for arm, scales in ARMS.items()]
    trials += [Trial(f"λ × {k:g}", 0, k * SGA, k * SPA) for k in SCALES if k != 1.0]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda seed: fit(Trial("cache", seed, SGA, SPA), options, "--precompute"), range(options.seeds)))
        list(pool.map(lambda trial: fit(trial, options), trials))
    curves = {trial: read_curves(options.folder / trial.name) for trial in trials}
    report = summarise(curves)
    print_table(report)
    draw(curves, options.picture)
    print(json.dumps(report))


def fit(trial: Trial, options: argparse.Namespace, *flags: str) -> None:
    """Runs the trial unless it is done. Each seed has its own random model and its own cache."""
    run, beside = options.folder / trial.name, options.folder / f"seed{trial.seed}"
    if not flags and (run / "done").exists():
        return
    sets = {
        "data.dataset": options.dataset, "model.path": beside / "model", "train.cache": beside / "cache",
        "train.out": run, "train.seed": trial.seed, "train.steps": options.steps,
        "align.sga": trial.sga, "align.spa": trial.spa, "log.to": "[]", "log.every": 10, "checkpoint.every": 0,
        "validation.every": max(1, options.steps // 4), "validation.videos": 0, "validation.clips": 16,
    }  # fmt: skip
    command = [sys.executable, "-m", "matrix_train", "fit", str(CONFIG), *flags]
    for name, value in sets.items():
        command += ["--set", f"{name}={value}"]
    if not flags:
        command += ["--resume", "auto"]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{trial.name}: {done.stderr[-2000:]}")
    if not flags:
        (run / "done").touch()
    print(f"{trial.arm}, seed {trial.seed}", file=sys.stderr, flush=True)


def read_curves(run: Path) -> Curves:
    """Validation numbers by name: (step, value)."""
    curves: Curves = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        step = values.pop("step")
        for name, value in values.items():
            if name.startswith("val."):
                curves.setdefault(name, []).append((step, value))
    return curves


MEASURES = {
    "aas_v2t": "val.sga.aas",
    "aas_v2v": "val.spa.aas",
    "in_out_v2t": "val.sga.inside_over_outside",
    "in_out_v2v": "val.spa.inside_over_outside",
    "correlation_v2t": "val.softmax.sga.correlation",
    "correlation_v2v": "val.softmax.spa.correlation",
    "diffusion": "val.diffusion",
}


def summarise(curves: dict[Trial, Curves]) -> dict[str, object]:
    """Per arm the means over seeds of the last validation, the values of every seed, and ratios to LoRA alone."""
    arms: dict[str, dict[str, object]] = {}
    for trial in curves:
        same = [values for other, values in curves.items() if other.arm == trial.arm]
        last = {name: [values[key][-1][1] for values in same] for name, key in MEASURES.items()}
        arms[trial.arm] = {
            "sga": trial.sga, "spa": trial.spa, "seeds": len(same), **{name: mean(v) for name, v in last.items()},
            "by_seed": last,
        }  # fmt: skip
    alone, with_sga, with_spa = (arms[name] for name in ("LoRA alone", "+ SGA", "+ SPA"))
    return {
        "arms": arms,
        "aas_v2t_ratio": _ratio(with_sga, alone, "aas_v2t"),
        "aas_v2v_ratio": _ratio(with_spa, alone, "aas_v2v"),
        "smallest_correlation": min(
            *with_sga["by_seed"]["correlation_v2t"], *with_spa["by_seed"]["correlation_v2v"]  # type: ignore[index]
        ),
    }  # fmt: skip


def _ratio(arm: dict[str, object], alone: dict[str, object], name: str) -> float:
    return float(arm[name]) / float(alone[name])  # type: ignore[arg-type]


def print_table(report: dict[str, object]) -> None:
    print(f"{'arm':14}{'λ_SGA':>8}{'λ_SPA':>8}" + "".join(f"{name:>17}" for name in MEASURES))
    for arm, row in report["arms"].items():  # type: ignore[attr-defined]
        print(f"{arm:14}{row['sga']:8g}{row['spa']:8g}" + "".join(f"{row[name]:17.4f}" for name in MEASURES))
    print(
        f"AAS v2t ×{report['aas_v2t_ratio']:.2f} with SGA, v2v ×{report['aas_v2v_ratio']:.2f} with SPA; "
        f"smallest correlation of map and mask in any seed {report['smallest_correlation']:+.3f}"
    )


def draw(curves: dict[Trial, Curves], picture: Path) -> None:
    """AAS by step for every arm (band: the seeds); AAS and diffusion loss by λ."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for axis, key, title in (
        (left, "val.sga.aas", "AAS, video to text"),
        (middle, "val.spa.aas", "AAS, video to video"),
    ):
        for arm in ARMS:
            runs = [values[key] for trial, values in curves.items() if trial.arm == arm]
            steps = [step for step, _ in runs[0]]
            values = [[run[i][1] for run in runs] for i in range(len(steps))]
            (line,) = axis.plot(steps, [mean(v) for v in values], label=arm, linewidth=2)
            axis.fill_between(
                steps, [min(v) for v in values], [max(v) for v in values], color=line.get_color(), alpha=0.2
            )
        axis.set(title=title, xlabel="step", ylabel="attention mass inside the masks", ylim=(0, None))
    left.legend(frameon=False)
    scales = {t.sga: values for t, values in curves.items() if t.seed == 0 and (t.sga > 0) == (t.spa > 0)}
    chosen = sorted(scales)
    for key, label in (("val.sga.aas", "AAS, video to text"), ("val.spa.aas", "AAS, video to video")):
        right.plot([scales[scale][key][-1][1] for scale in chosen], "o-", label=label)
    cost = right.twinx()
    cost.plot([scales[scale]["val.diffusion"][-1][1] for scale in chosen], "s--", color="0.4", label="diffusion loss")
    cost.set(ylabel="held-out diffusion loss (dashed)")
    right.set(
        title="what it costs, seed 0, both losses", xlabel="λ_SGA (λ_SPA is half of it)",
        ylabel="attention mass inside the masks", ylim=(0, None), xticks=range(len(chosen)),
        xticklabels=[f"{scale:g}" for scale in chosen],
    )  # fmt: skip
    right.legend(frameon=False, loc="upper left")
    for axis in (left, middle):
        axis.spines[["top", "right"]].set_visible(False)
    for axis in (right, cost):
        axis.spines["top"].set_visible(False)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
