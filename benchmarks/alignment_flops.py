"""FLOPs that alignment adds to a training step of CogVideoX-5B-I2V, 49 × 480 × 720, batch 1.

    python benchmarks/alignment_flops.py

Counted on the meta device (no weights, no GPU), all 42 blocks, LoRA and taps at blocks 7, 11 and 12, decoders at
stride 1, every first-frame cell a query of subject or object. One line per variant, then one JSON object.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch

from matrix_train.backbones import CogVideoX
from matrix_train.plan.flops import costly_roles, count_flops, training_step

CLIP = (49, 480, 720)
VARIANTS = (("logits", "auto"), ("centred", "auto"), ("softmax", "lse"), ("softmax", "columns"))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stride", type=int, default=1, help="pixels between supervised points: 1, 2, 4 or 8")
    parser.add_argument("--tokens", type=int, default=8, help="text tokens of each role")
    options = parser.parse_args(argv)
    report: dict[str, Any] = {"device": "meta", "stride": options.stride, "tokens": options.tokens, "variants": []}
    for checkpointing in (True, False):
        backbone = CogVideoX.from_config(CogVideoX.released.config, torch.bfloat16, "meta")
        backbone.add_lora(blocks=(7, 11, 12), rank=128, alpha=64)
        if checkpointing:
            backbone.enable_checkpointing()
        roles = costly_roles(backbone, *CLIP, options.tokens)
        report["n_tokens"] = roles.text_length + roles.video_length
        base = count_flops(training_step(backbone, *CLIP, None, options.stride))
        for mode, kernel in VARIANTS:
            backbone.install_taps({7: ["v2t"], 11: ["v2t"], 12: ["v2v"]}, mode, kernel)
            aligned = count_flops(training_step(backbone, *CLIP, roles, options.stride))
            share = (aligned - base) / base
            way = mode if kernel == "auto" else f"{mode}, {kernel}"
            kept = "checkpointed" if checkpointing else "all activations kept"
            print(
                f"{way:16} {kept:20}: {base / 1e12:7.1f} TFLOP + {(aligned - base) / 1e12:6.3f} ({share:.4%})",
                flush=True,
            )
            report["variants"].append(
                {"mode": mode, "kernel": kernel, "checkpointing": checkpointing, "base_flops": base,
                 "alignment_flops": aligned - base, "flops_overhead": share}
            )  # fmt: skip
    report["flops_overhead"] = max(v["flops_overhead"] for v in report["variants"] if v["mode"] == "logits")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
