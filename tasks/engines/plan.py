"""How much memory the engines of a profile need at most, from configurations alone: models are made on the meta device.

A configuration comes from the model's folder, the cache or the hub; those of our own profiles' models stand here, so
that a plan needs no network. Weights are counted, to the byte. What a model works with is reckoned from
its sizes; the factors are those of full-size models with random weights, measured on a CPU (docs/engines/choose.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForZeroShotObjectDetection,
    GroundingDinoConfig,
    PreTrainedConfig,
    Qwen3VLConfig,
    Sam2VideoConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from tasks.engines.devices import pick_device, pick_dtype
from tasks.engines.grounding_dino.options import DinoOptions
from tasks.engines.hub import where
from tasks.engines.in_process.options import CaptionerOptions, InProcessOptions, VerifierOptions
from tasks.engines.options import EngineOptions
from tasks.engines.sam2.options import Sam2Options
from tasks.errors import UserError

KNOWN: dict[str, Callable[[], PreTrainedConfig]] = {
    "Qwen/Qwen3-VL-2B-Instruct": lambda: Qwen3VLConfig(
        text_config={
            "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
            "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2048,
            "patch_size": 16, "spatial_merge_size": 2, "deepstack_visual_indexes": [5, 11, 17],
        },
        tie_word_embeddings=True,
    ),
    "IDEA-Research/grounding-dino-tiny": GroundingDinoConfig,
    "facebook/sam2.1-hiera-tiny": Sam2VideoConfig,
}  # fmt: skip
"""Sizes of the models that our profiles name, as their config.json has them."""

PROCESS = 1.5e9
"""Bytes of Python with torch, transformers and Prefect, and of the clips under way."""

PROMPT = 1200
"""Tokens of a long question: instructions, caption, what is known so far."""


@dataclass(frozen=True)
class Need:
    """Memory of one engine, in bytes."""

    weights: int
    work: int
    model: tuple[Any, ...]
    """Which model: engines with the same share its weights."""

    @property
    def peak(self) -> int:
        return self.weights + self.work


def need_of(options: EngineOptions, frames: int, shown: int) -> Need | None:
    """What an engine needs; None for one that is planned by nobody: a server's, an embedded one, a package's own.

    frames: of a clip, of 480 x 720 pixels. shown: frames that a captioner sees. UserError where a configuration is
    neither here nor to be had.
    """
    if isinstance(options, InProcessOptions):
        return _of_language(options, shown)
    if isinstance(options, DinoOptions) and options.implementation == "transformers":
        weights = _bytes(AutoModelForZeroShotObjectDetection, options.checkpoint, options.revision, torch.float32)
        seen = min(options.batch, frames) * options.shorter * min(options.longer, options.shorter * 1.5)
        return Need(weights, int(seen * DETECTOR_A_PIXEL), (options.checkpoint,))
    if isinstance(options, Sam2Options) and options.implementation == "transformers":
        return _of_tracker(options, frames)
    return None


DETECTOR_A_PIXEL = 1450.0
"""Bytes that GroundingDINO-tiny works with a pixel of its input, in fp32."""

ENCODER_A_PIXEL = 600.0
"""The same of SAM2's image encoder, of the tiny size."""


def _of_tracker(options: Sam2Options, frames: int) -> Need:
    from transformers import AutoModel

    config = _config(options.checkpoint, options.revision)
    dtype = pick_dtype(options.precision, pick_device(options.device, "sam2"))
    side = options.image_size or config.image_size
    width = config.vision_config.fpn_hidden_size
    # Three levels, of an eighth, a quarter and all of the width (sam2/album.py).
    levels = sum((side // stride) ** 2 * width // share for stride, share in ((4, 8), (8, 4), (16, 1)))
    kept = min(options.window, frames) * levels * dtype.itemsize
    return Need(
        _bytes(AutoModel, options.checkpoint, options.revision, dtype),
        int(kept + side**2 * ENCODER_A_PIXEL),
        (options.checkpoint,),
    )


def _of_language(options: InProcessOptions, shown: int) -> Need:
    config = _config(options.checkpoint, options.revision)
    device = pick_device(options.device, "engine transformers")
    dtype = pick_dtype(options.precision, device)
    text = config.get_text_config()
    sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    weights = _bytes(kind, options.checkpoint, options.revision, dtype)
    if options.quantize != "none":
        weights = weights * {"8bit": 8, "4bit": 4}[options.quantize] // (8 * dtype.itemsize)
    pixels = _pixels(options, shown)
    patch = getattr(config.vision_config, "patch_size", 14) if sees else 1
    patches = pixels // patch**2
    tokens = options.batch * (PROMPT + patches // 4)
    wide = text.hidden_size * 6 + text.intermediate_size * 3
    heads = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    kept = 2 * text.num_hidden_layers * text.num_key_value_heads * heads * (tokens + options.batch * options.max_tokens)
    seen = options.batch * patches * (config.vision_config.hidden_size * 16 if sees else 0)
    said = options.batch * text.vocab_size * 4 * 4
    return Need(weights, (tokens * wide + kept + seen) * dtype.itemsize + said, (options.checkpoint, device, dtype))


def _pixels(options: InProcessOptions, shown: int) -> int:
    """Of all images of one question."""
    if isinstance(options, VerifierOptions):
        return options.frame_side**2 * 2 // 3 + options.crop_side**2
    return shown * options.frame_side**2 * 2 // 3 if isinstance(options, CaptionerOptions) else 0


@lru_cache(maxsize=16)
def _config(name: str, revision: str | None) -> Any:
    if name in KNOWN:
        return KNOWN[name]()
    try:
        return AutoConfig.from_pretrained(name, **where(name, revision))
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: its config.json is not to be had: {str(error).splitlines()[0][:200]}") from None


@lru_cache(maxsize=16)
def _bytes(kind: Any, name: str, revision: str | None, dtype: torch.dtype) -> int:
    """Of all weights of a model in this precision."""
    with torch.device("meta"):
        model = kind.from_config(_config(name, revision))
    counted = (t for part in (model.parameters(), model.buffers()) for t in part)
    return sum(t.numel() * (dtype.itemsize if t.is_floating_point() else t.element_size()) for t in counted)
