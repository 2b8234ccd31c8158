"""What SGA and SPA do to attention: the tiny model on world shards, held-out clips, several seeds.

    python -m benchmarks.effect --dataset build/demo/out/dataset/<fingerprint> --folder build/effect --jobs 2

Arms: LoRA alone, + SGA, + SPA, both; and both at other λ for the trade-off with the diffusion loss. A seed draws the
model's first weights, the order of the data and all noise; its model is then trained as a base that makes video
(`benchmarks.base_model`), and all arms start from that. Prints a table, then one JSON object; writes `docs/effect.png`.
What is there already is not made again. `--set` changes the configuration of every arm: give another `--folder` then.
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
from matplotlib.figure import SubFigure

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
    parser.add_argument("--base-steps", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--picture", type=Path, default=Path("docs/effect.png"))
    options = parser.parse_args(argv)
    trials = [Trial(arm, seed, *scales) for seed in range(options.seeds) for arm, scales in ARMS.items()]
    trials += [Trial(f"λ × {k:g}", 0, k * SGA, k * SPA) for k in SCALES if k != 1.0]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda seed: make_base(seed, options), range(options.seeds)))
        list(pool.map(lambda trial: fit(trial, options), trials))
    curves = {trial: read_curves(options.folder / trial.name) for trial in trials}
    report = summarise(curves)
    print_table(report)
    draw(curves, report, options.picture)
    print(json.dumps(report))


def make_base(seed: int, options: argparse.Namespace) -> None:
    """The seed's random model, its cache and its base model."""
    beside = options.folder / f"seed{seed}"
    if (beside / "base").exists():
        return
    sets = settings(seed, options) | {"model.path": beside / "model", "train.out": beside / "run"}
    run(["matrix_train", "fit", str(CONFIG), "--precompute"], sets, f"cache, seed {seed}")
    steps = ["--steps", str(options.base_steps), "--out", str(beside / "base")]
    run(["benchmarks.base_model", str(CONFIG), *steps], sets, f"base model, seed {seed}")


def fit(trial: Trial, options: argparse.Namespace) -> None:
    """Runs the trial unless it is done."""
    out = options.folder / trial.name
    if (out / "done").exists():
        return
    sets = settings(trial.seed, options) | {
        "model.path": options.folder / f"seed{trial.seed}" / "base", "train.out": out, "train.steps": options.steps,
        "align.sga": trial.sga, "align.spa": trial.spa, "log.to": "[]", "log.every": 10, "checkpoint.every": 0,
        "validation.every": max(1, options.steps // 4), "validation.videos": 0, "validation.clips": 16,
    }  # fmt: skip
    run(["matrix_train", "fit", str(CONFIG), "--resume", "auto"], sets, f"{trial.arm}, seed {trial.seed}")
    (out / "done").touch()


def settings(seed: int, options: argparse.Namespace) -> dict[str, object]:
    """What every run of a seed is set to. Each seed has its own model, and its own cache."""
    cache = options.folder / f"seed{seed}" / "cache"
    chosen = dict(given.split("=", 1) for given in options.sets)
    return chosen | {"data.dataset": options.dataset, "train.cache": cache, "train.seed": seed}


def run(command: list[str], sets: dict[str, object], what: str) -> None:
    """`python -m` this, with the settings; SystemExit with the end of what it said where it fails."""
    given = [part for name, value in sets.items() for part in ("--set", f"{name}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", *command, *given],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{what}: {done.stderr[-2000:]}")
    print(what, file=sys.stderr, flush=True)


def read_curves(folder: Path) -> Curves:
    """Validation numbers of a run by name: (step, value)."""
    curves: Curves = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
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
LABELS = (
    "AAS v2t", "AAS v2v", "inside / outside v2t", "inside / outside v2v", "correlation v2t", "correlation v2v",
    "diffusion",
)  # fmt: skip
"""Of MEASURES, in the picture."""


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


def draw(curves: dict[Trial, Curves], report: dict[str, object], picture: Path) -> None:
    """AAS by step for every arm (band: the seeds); AAS and diffusion loss by λ; the table of the last validation."""
    figure = plt.figure(figsize=(13, 6.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(3.8, 2.4))  # type: ignore[misc]
    left, middle, right = top.subplots(1, 3)
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
    draw_table(bottom, report["arms"])  # type: ignore[arg-type]
    figure.savefig(picture, dpi=110)


def draw_table(figure: SubFigure, arms: dict[str, dict[str, object]]) -> None:
    """Means over seeds of every measure, and the values of the seeds below them."""
    axis = figure.subplots()
    axis.axis("off")
    rows = []
    for arm, row in arms.items():
        by_seed: dict[str, list[float]] = row["by_seed"]  # type: ignore[assignment]
        cells = [f"{row[m]:.3f}{seeds(by_seed[m])}" for m in MEASURES]
        rows.append([arm, f"{row['sga']:g}", f"{row['spa']:g}", *cells])
    table = axis.table(
        cellText=rows, colLabels=["mean, and seeds", "λ_SGA", "λ_SPA", *LABELS], cellLoc="center", loc="center",
        colWidths=[0.1, 0.05, 0.05] + [0.8 / len(LABELS)] * len(LABELS), edges="horizontal",
    )  # fmt: skip
    table.auto_set_font_size(False)
    table.set_fontsize(8.5)
    table.scale(1, 2)


def seeds(values: list[float]) -> str:
    """What the seeds had, where there were several."""
    return "\n" + ", ".join(f"{value:.3g}" for value in values) if len(values) > 1 else ""


if __name__ == "__main__":
    main()
