"""From the rows of clips to layers, on numbers that are written down."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from matrix_train.analyze.labels import Labels
from matrix_train.analyze.summary import FEW, Summary, layers_of, summarise
from matrix_train.analyze.table import ReadRole, clip_table, means_of, write_table
from matrix_train.config import AlignConfig

BOTH = ("v2t", "v2v")
STEPS, BLOCKS, CELLS = 2, 4, 10


def values_of(*by_role: float) -> np.ndarray:
    """[steps, blocks, kinds, R, values]: AAS is role × (block + 1), twice that in the second step; v2v is ten times
    v2t; mass is a fifth more."""
    block = np.arange(1.0, BLOCKS + 1)
    step = np.array([1.0, 2.0])
    kind = np.array([1.0, 10.0])
    aas = np.einsum("s,b,k,r->sbkr", step, block, kind, np.array(by_role))
    return np.stack([aas, 1.2 * aas], axis=-1)


def part(folder: Path, clip: str, values: np.ndarray, roles: list[ReadRole]) -> Path:
    path = folder / f"{clip}.parquet"
    write_table(clip_table(clip, values, np.array([900.0, 100.0], dtype=np.float32), roles, CELLS), path)
    return path


def test_scores_are_means_over_the_roles_of_a_variant(tmp_path: Path) -> None:
    roles = [ReadRole(0, "subject", "man", BOTH, 3), ReadRole(0, "verb", "lifts", BOTH, 5),
             ReadRole(0, "object", "box", ("v2t",), 2)]  # fmt: skip
    table = clip_table("a", values_of(1.0, 5.0, 3.0), np.zeros(STEPS, dtype=np.float32), roles, CELLS)
    assert table.num_rows == STEPS * BLOCKS * 5
    means = means_of(table, STEPS, BLOCKS)
    assert means.aas["noun.v2t"].tolist() == [[2, 4, 6, 8], [4, 8, 12, 16]], "of 1 and 3"
    assert means.aas["verb.v2t"].tolist() == [[5, 10, 15, 20], [10, 20, 30, 40]]
    assert means.aas["noun.v2v"].tolist() == [[10, 20, 30, 40], [20, 40, 60, 80]], "the box is not in the first frame"
    # Attention a cell: 1.2 × mean of 1, 5, 3 × mean of both steps, over ten cells.
    assert means.attention == pytest.approx(1.2 * 3 * 1.5 / CELLS * np.arange(1, BLOCKS + 1))
    none = means_of(table.slice(0, 0), STEPS, BLOCKS)
    assert np.isnan(none.aas["verb.v2v"]).all()


def made(folder: Path, labels: Labels | None, alone: bool) -> Summary:
    """Four clips: a and b of AAS 1, c and d of 3, and d has no verb."""
    noun, verb = ReadRole(0, "subject", "man", BOTH, 3), ReadRole(0, "verb", "lifts", BOTH, 5)
    parts = {}
    for clip, size in {"a": 1.0, "b": 1.0, "c": 3.0, "d": 3.0}.items():
        roles = [noun] if clip == "d" else [noun, verb]
        values = values_of(*[size] * len(roles))
        values[:, 3] = 1e-12  # a block that does not look
        parts[clip] = part(folder, clip, values, roles)
    return summarise(parts, STEPS, BLOCKS, AlignConfig(sga_blocks=(0,), spa_blocks=(0,)), alone, labels)


def test_a_dummy_is_left_out_of_grounding_alone(tmp_path: Path) -> None:
    summary = made(tmp_path, None, alone=True)
    assert summary.dummies == (3,)
    assert summary.counts == {"noun.v2t": 4, "verb.v2t": 3, "noun.v2v": 4, "verb.v2v": 3}
    assert summary.found["noun.v2t"].rank_sum[3] == np.inf
    assert np.isfinite(summary.found["noun.v2v"].rank_sum).all()
    assert made(tmp_path, None, alone=False).dummies == ()
    assert summary.heat["noun.v2t"][0, 0] == 2.0, "of 1, 1, 3, 3"
    layers = layers_of(summary, "some", {"steps": STEPS})
    assert layers["settings"] == {"align.sga_blocks": [2], "align.spa_blocks": [2], "lora.blocks": [2]}
    assert layers["variants"]["noun.v2t"]["rank_sum"][3] is None
    assert layers["variants"]["noun.v2t"]["magnitude"][:3] == pytest.approx([3, 6, 9])


def test_labels_are_of_clips_by_key(tmp_path: Path) -> None:
    summary = made(tmp_path, Labels(("c", "d", "x"), ("a",)), alone=True)
    assert summary.labelled == (2, 1)
    own = summary.between["noun.v2t"]
    assert own is not None
    # One of each, c and a, and b, which has no label: 4.5, 1.5 and 1.5 at block 0.
    assert own.success[0] == pytest.approx(4.5 - 2.5)
    assert own.failure[0] == pytest.approx(1.5 - 2.5)
    assert summary.chosen["sga"].by == "dominant"
    assert layers_of(summary, "some", {})["variants"]["noun.v2t"]["dominant"] == [2, 1]


def test_too_few_clips_are_told_with_how_many_and_why(tmp_path: Path) -> None:
    few = made(tmp_path, Labels(("c", "d"), ("a",)), alone=False)
    assert [line.split(" (one")[0] for line in few.warnings] == [
        f"{what}: too few for a ranking of blocks. The share of clips in which a block stands out is uncertain by {by}"
        for what, by in (("4 clips", "25 points"), ("1 clip on the smaller side of the labels", "50 points"))
    ]
    assert layers_of(few, "some", {})["warnings"] == list(few.warnings)
    counts = dict.fromkeys(few.counts, FEW) | {"verb.v2v": 16, "verb.v2t": 0}
    many = replace(few, clips=tuple(map(str, range(FEW))), counts=counts, labelled=(0, 0))
    (line,) = many.warnings
    assert line.startswith("16 clips with verbs, video to video: too few") and "by 12 points" in line
    assert replace(many, counts=dict.fromkeys(few.counts, FEW)).warnings == ()
