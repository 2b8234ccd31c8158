"""Decoders that start where the maps lie, wherever that is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from matrix_train.attention.maps import attend
from matrix_train.fit.checkpoint import checkpoints
from matrix_train.fit.run import Run
from tests.matrix_train.fitting import metrics, small_config, start

RECIPE = ("align.attention_map=centred", "align.prior=0.05", "align.calibrate=true", "train.steps=2")


@contextmanager
def lifted(run: Run, nats: float) -> Iterator[None]:
    """A model whose maps lie that much higher."""

    def read(q, k, v, taps):
        out, maps = attend(q, k, v, taps)
        return out, {direction: values + nats for direction, values in maps.items()}

    collector = run.parts.backbone.collector
    collector.read = read
    yield
    collector.read = attend


def test_a_level_that_is_off_by_four_nats_is_calibrated_away(dataset: Path, tmp_path: Path) -> None:
    losses: dict[str, list[dict[str, float]]] = {}
    levels: dict[str, torch.Tensor] = {}
    for name, nats, more in (("plain", 0.0, ()), ("off", 4.0, ()), ("raw", 4.0, ("align.calibrate=false",))):
        run = start(small_config(dataset, tmp_path / name, *RECIPE, *more))
        with lifted(run, nats):
            run.train()
        losses[name] = metrics(tmp_path / name)
        levels[name] = load_file(checkpoints(tmp_path / name)[-1] / "trainable.safetensors")["decoders.sga.level"]
    for calm, off, raw in zip(losses["plain"], losses["off"], losses["raw"], strict=True):
        for name in ("loss", "diffusion", "sga", "spa", "sga.iou", "sga.correlation"):
            if name in calm:
                assert off[name] == pytest.approx(calm[name], rel=1e-3), name
        assert raw["sga"] != pytest.approx(calm["sga"], rel=0.03)
    # One for each block, moved by what was found, and kept in the checkpoint.
    assert levels["plain"].shape == (2,)
    assert levels["plain"][0] != levels["plain"][1]
    torch.testing.assert_close(levels["off"], levels["plain"] + 4.0, rtol=0, atol=1e-2)
