"""What all clips of an analysis say together: `layers.json`, and the numbers that the report draws."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from matrix_train.analyze.labels import Labels
from matrix_train.analyze.layers import SCHEMA_VERSION
from matrix_train.analyze.ranking import VARIANTS, Choice, Gaps, Influence, Scores, choose, dummy, gaps, influence
from matrix_train.analyze.table import SCHEMA, means_of
from matrix_train.attention.roles import Family
from matrix_train.config import AlignConfig

TITLES = {
    "noun.v2t": "nouns, video to text", "verb.v2t": "verbs, video to text",
    "noun.v2v": "nouns, video to video", "verb.v2v": "verbs, video to video",
}  # fmt: skip

FEW = 25
"""Clips from which on a ranking is one: the share of n clips in which a block is among the top is uncertain by up to
1/(2√n), one standard error, and of 25 clips by a tenth."""


@dataclass(frozen=True)
class Summary:
    clips: tuple[str, ...]
    steps: int
    blocks: int
    heat: dict[str, NDArray[np.float64]]
    """By variant, mean AAS over clips [steps, blocks]; NaN where no clip has it."""
    counts: dict[str, int]
    """Clips that have the variant."""
    dummies: tuple[int, ...]
    found: dict[str, Influence]
    between: dict[str, Gaps | None]
    labelled: tuple[int, int]
    """Clips of this analysis that succeed and that fail."""
    chosen: dict[Family, Choice]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is of too few clips to be relied on."""
        told = {"": len(self.clips)}
        if len(self.clips) >= FEW:
            told = {f" with {TITLES[variant]}": count for variant, count in self.counts.items() if count}
        if least := min(self.labelled):
            told[" on the smaller side of the labels"] = least
        few = [(f"{n} {'clip' if n == 1 else 'clips'}{what}", n) for what, n in told.items() if n < FEW]
        return tuple(
            f"{what}: too few for a ranking of blocks. The share of clips in which a block stands out is uncertain by "
            f"{50 / math.sqrt(n):.0f} points (one standard error); from {FEW} clips on by "
            f"{50 / math.sqrt(FEW):.0f} at most."
            for what, n in few
        )


def summarise(
    parts: Mapping[str, Path], steps: int, blocks: int, align: AlignConfig, alone: bool, labels: Labels | None
) -> Summary:
    """parts: the clips' tables by key, read one at a time. alone: whether video asks text in an attention of its own,
    where blocks may be dummies. align: says how many blocks each loss is given."""
    scores = {variant: np.full((len(parts), blocks), np.nan) for variant in VARIANTS}
    sums = {variant: np.zeros((steps, blocks)) for variant in VARIANTS}
    attention = np.full((len(parts), blocks), np.nan)
    for row, part in enumerate(parts.values()):
        means = means_of(pq.read_table(part, schema=SCHEMA), steps, blocks)
        attention[row] = means.attention
        for variant, own in means.aas.items():
            scores[variant][row] = own.mean(axis=0)
            sums[variant] += np.nan_to_num(own)
    counts = {variant: int((~np.isnan(own).any(axis=1)).sum()) for variant, own in scores.items()}
    heat = {v: sums[v] / counts[v] if counts[v] else np.full((steps, blocks), np.nan) for v in VARIANTS}
    dummies = dummy(attention) if alone else ()
    found = {v: influence(own, dummies if v.endswith("v2t") else ()) for v, own in scores.items()}
    good, bad = _rows(list(parts), labels)
    between = {v: gaps(own, good, bad, found[v].influential) for v, own in scores.items()}
    wanted: dict[Family, int] = {"sga": len(align.sga_blocks), "spa": len(align.spa_blocks)}
    chosen = {family: choose(family, max(1, count), found, between) for family, count in wanted.items()}
    return Summary(
        tuple(parts), steps, blocks, heat, counts, dummies, found, between, (len(good), len(bad)), chosen,
    )  # fmt: skip


def _rows(keys: Sequence[str], labels: Labels | None) -> tuple[list[int], list[int]]:
    if labels is None:
        return [], []
    places = {key: row for row, key in enumerate(keys)}
    good, bad = ([places[key] for key in side if key in places] for side in (labels.success, labels.failure))
    return good, bad


def layers_of(summary: Summary, backbone: str, made_of: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `layers.json`. made_of: what was analysed, and how."""

    def plain(values: Scores | NDArray[np.int64]) -> list[float | None]:
        return [float(value) if np.isfinite(value) else None for value in values]

    variants: dict[str, Any] = {}
    for variant, own in summary.found.items():
        told = summary.between[variant]
        variants[variant] = {
            "influential": list(own.influential),
            "frequency": own.frequency.tolist(),
            "magnitude": plain(own.magnitude),
            "rank_sum": plain(own.rank_sum),
        }
        if told is not None:
            variants[variant] |= {
                "dominant": list(told.dominant),
                "success_gap": plain(told.success),
                "failure_gap": plain(told.failure),
            }
    sga, spa = list(summary.chosen["sga"].blocks), list(summary.chosen["spa"].blocks)
    return {
        "schema_version": SCHEMA_VERSION,
        "backbone": backbone,
        "made_of": dict(made_of),
        "clips": len(summary.clips),
        "warnings": list(summary.warnings),
        "labelled": {"success": summary.labelled[0], "failure": summary.labelled[1]},
        "blocks": summary.blocks,
        "dummy": list(summary.dummies),
        "variants": variants,
        "chosen_by": {family: choice.by for family, choice in summary.chosen.items()},
        # Of a loss that no clip says anything of, the configuration's own blocks stay.
        "settings": {
            **({"align.sga_blocks": sga} if sga else {}), **({"align.spa_blocks": spa} if spa else {}),
            **({"lora.blocks": sorted({*sga, *spa})} if sga and spa else {}),
        },
    }  # fmt: skip
