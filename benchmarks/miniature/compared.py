"""The comparison of decision 17: every arm's difference to LoRA alone, paired by seed and prompt.

Its 95 % interval is a bootstrap over pictures: both turns, all seeds and all arms of a picture are drawn together. A
pair of which one has no score is left out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from benchmarks.effect.report import Difference
from benchmarks.miniature.judge import Verdict, file_of, one_judge, verdicts
from benchmarks.miniature.sample import ARMS, BASE

ALONE = "LoRA alone"
PAPER = (BASE, ALONE, "+ SPA", "+ SGA on t2v", "+ SGA", "+ both")
"""In the paper's order of IF (its table 2)."""

MEASURES = {"right": "right", "turned": "turned", "IF": "if_score", "KISA": "kisa", "SGI": "sgi", "SPI": "spi"}
DRAWS = 10_000

Values = dict[str, NDArray[np.float64]]
"""By measure, [seeds, pictures, turns]; NaN where a video has no score."""

Differences = dict[str, dict[str, Difference]]
"""By arm and measure."""


def values_of(folder: Path, seeds: Sequence[int]) -> dict[str, Values]:
    """By arm. SystemExit for verdicts of several judges."""
    one_judge(folder, [file_of(folder, seed, arm) for arm in ARMS for seed in seeds])
    return {arm: _values([list(verdicts(folder, seed, arm).values()) for seed in seeds]) for arm in ARMS}


def _values(found: list[list[Verdict]]) -> Values:
    """found: by seed and prompt; the turns of a picture lie side by side."""

    def of(verdict: Verdict, name: str) -> float:
        if name in ("right", "turned"):
            return float(getattr(verdict, name))
        return np.nan if verdict.scores is None else float(getattr(verdict.scores, name))

    return {
        measure: np.array([[of(one, name) for one in own] for own in found]).reshape(len(found), -1, 2)
        for measure, name in MEASURES.items()
    }


def differences(values: Mapping[str, Values]) -> Differences:
    return {
        arm: {name: difference(own[name], values[ALONE][name]) for name in MEASURES}
        for arm, own in values.items()
        if arm != ALONE
    }


def difference(arm: NDArray[np.float64], alone: NDArray[np.float64]) -> Difference:
    """Of [seeds, pictures, turns]. Every seed, and every picture that is left over, has a pair."""
    apart = arm - alone
    total, count = np.nansum(apart, axis=(0, 2)), np.sum(~np.isnan(apart), axis=(0, 2))
    paired = count > 0
    total, count = total[paired], count[paired]
    drawn = np.random.default_rng(0).integers(len(total), size=(DRAWS, len(total)))
    low, high = np.quantile(total[drawn].sum(1) / count[drawn].sum(1), (0.025, 0.975))
    middle, each = total.sum() / count.sum(), np.nanmean(apart, axis=(1, 2))
    beside = np.mean(alone[~np.isnan(apart)])
    return Difference(float(middle), float(low), float(high), tuple(map(float, each)), float(beside))


def means(values: Mapping[str, Values]) -> dict[str, dict[str, list[float]]]:
    """By arm and measure, of every seed."""
    return {
        arm: {name: np.nanmean(own[name], axis=(1, 2)).tolist() for name in MEASURES} for arm, own in values.items()
    }


def order(values: Mapping[str, Values], measure: str) -> tuple[list[str], float]:
    """The arms from the lowest mean to the highest, and Kendall's τ to the paper's order."""
    found = {arm: float(np.nanmean(values[arm][measure])) for arm in PAPER}
    tau = kendalltau(range(len(PAPER)), list(found.values())).statistic
    return sorted(PAPER, key=lambda arm: found[arm]), float(tau)


def by_kind(right: NDArray[np.float64], kinds: Sequence[str]) -> dict[str, float]:
    """Share of right videos, of [seeds, pictures, turns]. kinds: of every prompt, as they lie in the last two."""
    flat = right.reshape(len(right), -1)
    return {kind: float(flat[:, [own == kind for own in kinds]].mean()) for kind in sorted({*kinds})}
