"""At step 0: where a model's maps lie, block by block, and the decoders' levels set by it.

A decoder that starts nats away from its maps asks for all of the picture or for none of it, ruins both losses, and
training does not mend it (docs/training/decoder.md). Where a trained model's maps lie nobody knows before looking.
"""

from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator

from matrix_train.attention.kernels import attention_kernel
from matrix_train.config import Config
from matrix_train.data import open_stream
from matrix_train.fit.assembly import Assembly
from matrix_train.fit.cache import LatentCache
from matrix_train.fit.distributed import put_parameters
from matrix_train.fit.inputs import Draw, prepare
from matrix_train.fit.means import Means

CLIPS = 8
"""Training clips that the level is measured on, the first of the first epoch, each at a random timestep of its own."""


def calibrate(
    config: Config, parts: Assembly, model: Any, accelerator: Accelerator, cache: LatentCache | None
) -> dict[str, float]:
    """Sets the decoders' levels, and returns what was found: `<family>.<block>` in nats. Every process must call it."""
    found = _levels(config, parts, model, accelerator, cache)
    # A family without a role in any of the clips stays at 0.
    levels = {
        f"decoders.{family}.level": torch.tensor([found.get(f"{family}.{block}", 0.0) for block in blocks])
        for family, blocks in config.align.tapped.items()
    }
    put_parameters(model, levels)
    return found


@torch.no_grad()
def _levels(
    config: Config, parts: Assembly, model: Any, accelerator: Accelerator, cache: LatentCache | None
) -> dict[str, float]:
    alone = config.data.model_copy(update={"workers": 0})
    draw = Draw(config.train.seed, "calibration", image_noise=config.train.image_noise)
    means, world, rank = Means(), accelerator.num_processes, accelerator.process_index
    with open_stream(
        alone, "train", parts.encoders.tokenizer, parts.grid, seed=config.train.seed, decode_video=cache is None
    ) as stream:
        clips = min(CLIPS, len(stream.dataset))
        # Every process takes as many forward passes, or FSDP would wait for ever; what is too many does not count.
        rounds = -(-clips // world)
        for i, batch in enumerate(islice(stream, rounds * world)):
            if i % world == rank:
                inputs = prepare(
                    batch, parts.encoders, parts.grid, config.align.supervise_stride, draw, accelerator.device, cache
                )
                with attention_kernel(config.model.attention):
                    _, logs = model(inputs, "level")
                means.add(logs, float(i < clips))
    ending = ".level"
    values = means.read(accelerator)
    return {name.removesuffix(ending): value for name, value in values.items() if name.endswith(ending)}
