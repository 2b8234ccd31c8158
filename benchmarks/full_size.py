"""What a training step of a released model takes, by part, counted on the meta device: no weights, no data, no GPU.

    python -m benchmarks.full_size wan21 [--set model.checkpointing=full ...]

The model's recipe in `configs/`, at its clip. The last line is JSON.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matrix_train.align.losses import make_decoders
from matrix_train.backbones import backbone_named, trainable_parameters
from matrix_train.backbones.base import Backbone
from matrix_train.backbones.configured import check_data, prepare_backbone
from matrix_train.backbones.trainable import kind_of
from matrix_train.bench.workload import CONFIGS
from matrix_train.config import DTYPES, Config, load_config
from matrix_train.plan.cost import planned_encoding, planned_sampling, planned_step
from matrix_train.plan.flops import count_flops
from matrix_train.plan.memory import peak_bytes


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    options = parser.parse_args(argv)
    kind = backbone_named(options.backbone)
    config = load_config(CONFIGS / kind.released.recipe, options.sets)
    found = {"backbone": kind.name, "recipe": kind.released.recipe, "sets": options.sets} | measure(config, kind)
    print(json.dumps(found))


def measure(config: Config, kind: type[Backbone], transformer: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Parameters by kind, bytes by part, FLOPs. transformer: its arguments, those of the released one by default."""
    dtype = DTYPES[config.model.precision]

    def prepared(config: Config) -> Backbone:
        return prepare_backbone(config, kind.from_config(transformer or kind.released.config, dtype, "meta"))

    backbone = prepared(config)
    check_data(config, backbone)
    grid = backbone.grid(config.data.frames, config.data.height, config.data.width)
    counts: Counter[str] = Counter()
    for name, parameter in trainable_parameters(backbone, dict(make_decoders(config.align, grid).items())).items():
        counts[kind_of(name)] += parameter.numel()
    frozen = sum(p.numel() for p in backbone.model.parameters() if not p.requires_grad)
    encoders = kind.encoders.released()
    cached = config.train.cache is not None
    loaded = [encoders.vae] if cached else encoders.modules()
    bytes_of = {
        "weights": frozen * dtype.itemsize,
        "encoders": sum(p.numel() for module in loaded for p in module.parameters()) * dtype.itemsize,
        # Parameter, gradient and AdamW's two moments, all float32.
        "state": 16 * sum(counts.values()),
        "activations": peak_bytes(planned_step(config, backbone)),
        "encoding": peak_bytes(planned_encoding(config, encoders)),
        "sampling": max(map(peak_bytes, planned_sampling(config, backbone, encoders)), default=0),
    }
    for part, size in bytes_of.items():
        print(f"{part:12} {size / 1e9:7.2f} GB", flush=True)
    plain = config.model_copy(update={"align": config.align.model_copy(update={"sga": 0.0, "spa": 0.0})})
    step, without = (count_flops(planned_step(c, prepared(c))) for c in (config, plain))
    encoding = count_flops(planned_encoding(config, encoders))
    share = (step - without) / without
    print(f"a step {step / 1e12:.1f} TFLOP, alignment {share:.4%} on top of the rest; encoding {encoding / 1e12:.1f}")
    return {
        "trainable": dict(counts), "frozen": frozen, "cells": grid.cells, "bytes": bytes_of, "step_flops": step,
        "alignment_share": share, "encoding_flops": encoding,
    }  # fmt: skip


if __name__ == "__main__":
    main()
