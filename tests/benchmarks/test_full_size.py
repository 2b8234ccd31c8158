"""What `benchmarks.full_size` prints of a released model, at a size where it can be counted by hand."""

from typing import Any

import pytest

from benchmarks.full_size import measure
from matrix_train.backbones import backbone_named
from matrix_train.bench.workload import CONFIGS
from matrix_train.config import load_config

HEADS, BLOCKS, CLIP = 2, 3, (9, 64, 96)
SMALL = (
    "data.frames=9", "data.height=64", "data.width=96", "lora.blocks=[0, 2]", "lora.rank=4", "align.sga_blocks=[1]",
    "align.spa_blocks=[2]",
)  # fmt: skip


def measured(*more: str) -> dict[str, Any]:
    kind = backbone_named("cogvideox")
    return measure(load_config(CONFIGS / kind.released.recipe, [*SMALL, *more]), kind, kind.sized(HEADS, BLOCKS, *CLIP))


def test_the_parts_are_those_of_the_model() -> None:
    kind = backbone_named("cogvideox")
    found, plain, fresh = measured(), measured("align.sga=0", "align.spa=0"), measured("train.cache=null")
    width = HEADS * 64
    assert found["trainable"]["LoRA"] == 2 * 4 * (width * 4 + 4 * width)  # two blocks; q, k, v and out of each
    model = kind.from_config(kind.sized(HEADS, BLOCKS, *CLIP)).model
    assert found["frozen"] + found["trainable"]["input projection"] == sum(p.numel() for p in model.parameters())
    assert "decoders" in found["trainable"] and "decoders" not in plain["trainable"]
    assert found["cells"] == 3 * 4 * 6
    size = found["bytes"]
    assert size["weights"] == 2 * found["frozen"]  # bfloat16
    assert size["state"] == 16 * sum(found["trainable"].values())
    assert min(size.values()) > 0
    # With a cache T5 is left out, and of the clip the first frame alone is encoded.
    assert size["encoders"] < fresh["bytes"]["encoders"] / 10 and size["activations"] == fresh["bytes"]["activations"]
    assert found["encoding_flops"] < fresh["encoding_flops"]
    assert plain["alignment_share"] == 0 < found["alignment_share"]
    assert found["step_flops"] == pytest.approx(plain["step_flops"] * (1 + found["alignment_share"]), rel=1e-9)
