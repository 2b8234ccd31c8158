"""What came out: differences to LoRA alone, paired, with their intervals; as a table and as a picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from scipy.stats import t

MEASURES = {
    "AAS v2t": "val.sga.aas",
    "AAS v2v": "val.spa.aas",
    "inside / outside v2t": "val.sga.inside_over_outside",
    "inside / outside v2v": "val.spa.inside_over_outside",
    "diffusion": "val.diffusion",
}
"""Numbers of a validation by what they are called here."""

DIFFUSION = "diffusion"
"""Told as a share of what it is held against too."""
SHOWN = ("AAS v2t", "AAS v2v", DIFFUSION)
"""In the picture."""

Values = dict[str, list[float]]
"""By measure, the last validation's of every seed."""


@dataclass(frozen=True)
class Difference:
    """Of an arm to what it is held against, over seeds that both have."""

    mean: float
    low: float
    high: float
    """Ends of the 95 % interval; by `difference` that of Student's t."""
    each: tuple[float, ...]
    """Of every seed."""
    beside: float
    """Mean of what it is held against."""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def difference(arm: Sequence[float], alone: Sequence[float]) -> Difference:
    """Paired. With one seed the interval is all numbers."""
    each = tuple(a - b for a, b in zip(arm, alone, strict=True))
    half = float(t.ppf(0.975, len(each) - 1)) * stdev(each) / math.sqrt(len(each)) if len(each) > 1 else math.inf
    middle = mean(each)
    return Difference(middle, middle - half, middle + half, each, mean(alone))


def differences(values: Mapping[str, Values], against: Mapping[str, str]) -> dict[str, dict[str, Difference]]:
    """By arm and measure, of every arm that is held against another."""
    return {
        arm: {name: difference(values[arm][name], values[other][name]) for name in MEASURES}
        for arm, other in against.items()
    }


def table(values: Mapping[str, Values], found: Mapping[str, Mapping[str, Difference]]) -> str:
    """Markdown: a row an arm, means over seeds, and beside each the difference with its interval."""
    measures = list(next(iter(values.values())))
    lines = ["| arm | " + " | ".join(measures) + " |", "|---" * (len(measures) + 1) + "|"]
    for arm, own in values.items():
        cells = [f"{mean(own[name]):.3f}" + _told(found.get(arm, {}).get(name), name) for name in measures]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _told(found: Difference | None, name: str) -> str:
    if found is None:
        return ""
    share = f", {100 * found.mean / found.beside:+.1f} %" if name == DIFFUSION else ""
    return f" ({found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]{share})"


def draw(found: Mapping[str, Mapping[str, Difference]], shown: Sequence[str], title: str, picture: Path) -> None:
    """For each shown measure, every arm's difference: a dot a seed, the mean and its interval."""
    figure, axes = plt.subplots(1, len(shown), figsize=(13, 0.55 * len(found) + 1.6), sharey=True, layout="constrained")
    for axis, name in zip(axes, shown, strict=True):
        axis.axvline(0, color="0.6", linewidth=1)
        for row, arm in enumerate(found):
            at = found[arm][name]
            scale = 1 if name != DIFFUSION else 100 / at.beside  # in per cent of LoRA alone's
            color = "tab:blue" if at.clear else "0.5"
            axis.plot([scale * value for value in at.each], [row] * len(at.each), "o", color=color, alpha=0.3)
            axis.plot([scale * at.low, scale * at.high], [row, row], color=color, linewidth=2.5)
            axis.plot([scale * at.mean], [row], "D", color=color)
        axis.set(title=name if name != DIFFUSION else "held-out diffusion loss, %")
        axis.locator_params(axis="x", nbins=5)  # more of them run into each other
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set(yticks=range(len(found)), yticklabels=list(found), ylim=(len(found) - 0.5, -0.5))
    figure.suptitle(title)
    figure.savefig(picture, dpi=110)
    plt.close(figure)
