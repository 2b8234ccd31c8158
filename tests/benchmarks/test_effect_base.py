"""What a base model is trained on when a GPU would wait for the reader: the same batches again, in other company."""

from itertools import islice
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.effect.base_model import again
from matrix_train.attention.roles import RoleWeights
from matrix_train.fit.inputs import Inputs

ROWS = 3


def batch(first: int) -> Inputs:
    """Rows that know their number, in latents and in what they are conditioned on."""
    numbers = torch.arange(first, first + ROWS).float()
    nothing = torch.zeros(ROWS, 3, 2)
    return Inputs(
        clean=numbers[:, None].expand(ROWS, 4), conditions={"prompt": numbers[:, None]},
        noise=torch.zeros(ROWS, 4), timesteps=torch.zeros(ROWS, dtype=torch.long),
        roles=RoleWeights.build(nothing, nothing), masks=nothing, cells=nothing, present={},
    )  # fmt: skip


def test_rows_keep_their_conditions_and_a_run_goes_on_where_it_was() -> None:
    encoders: Any = SimpleNamespace(timesteps=lambda drawn: (drawn * 1000).long())
    held = [batch(0), batch(ROWS)]
    drawn = list(islice(again(held, encoders, seed=5, step=0), 30))
    for inputs in drawn:
        assert torch.equal(inputs.clean[:, :1], inputs.conditions["prompt"])
        assert len(set(inputs.clean[:, 0].tolist())) == ROWS
    assert {n for inputs in drawn for n in inputs.clean[:, 0].tolist()} == set(range(2 * ROWS))
    assert len({tuple(inputs.noise.flatten().tolist()) for inputs in drawn}) == len(drawn)
    assert len({int(t) for inputs in drawn for t in inputs.timesteps}) > 60  # of 90
    resumed = next(again(held, encoders, seed=5, step=20))
    assert torch.equal(resumed.noise, drawn[20].noise)
    assert torch.equal(resumed.clean, drawn[20].clean)
    assert torch.equal(resumed.timesteps, drawn[20].timesteps)
