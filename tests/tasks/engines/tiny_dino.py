"""A small GroundingDINO of the real classes with random weights, saved as a user's checkpoint is.

Freshly made weights give every query nearly the same box and score. These are drawn so that scores spread over 0 … 1,
that boxes overlap, and that the text matters.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import JsonValue
from safetensors.torch import save_file
from transformers import BertConfig, BertTokenizer

from tasks.engines.grounding_dino.architecture import Architecture, Swin
from tasks.engines.grounding_dino.upstream import build
from tests.tasks.engines.grounding_dino.convert import ported_model

SIZES = Architecture(
    swin=Swin(image=64, width=24, depths=(2, 2, 2, 2), heads=(1, 2, 4, 8), window=4),
    queries=40,
    encoder_layers=2,
    decoder_layers=2,
    feedforward=64,
)
WORDS = ("man", "woman", "person", "dog", "cat", "ball", "box", "cup", "polar", "bear", "tennis", "snow", "##board")


TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def save_tiny(folder: Path, implementation: str, seed: int) -> dict[str, JsonValue]:
    """Write checkpoint, sizes and text encoder under `folder`; the engine's options for them.

    implementation: "mm" is MM-GroundingDINO, by transformers. The same seed gives the same weights for all.
    """
    return save_random(folder, implementation, seed, SIZES, TEXT) | {"shorter": 64, "longer": 128, "batch": 4}


def save_random(
    folder: Path, implementation: str, seed: int, sizes: Architecture, text_sizes: Mapping[str, int]
) -> dict[str, JsonValue]:
    """The same for any size; text_sizes: terms of BertConfig."""
    text = save_text_encoder(folder / "text", text_sizes)
    tokenizer = BertTokenizer.from_pretrained(folder / "text")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(sizes, text, tokenizer)
        spread(model)
    if implementation == "groundingdino":
        save_file(unshared(model.state_dict()), folder / "dino.safetensors")
        (folder / "sizes.json").write_text(json.dumps(sizes.model_dump(mode="json")))
        named = {"checkpoint": "dino.safetensors", "config": "sizes.json", "text_encoder": "text"}
        return {"implementation": implementation, **{key: str(folder / name) for key, name in named.items()}}
    ported_model(model.state_dict(), sizes, text, mm=implementation == "mm").save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return {"implementation": "transformers", "checkpoint": str(folder / "model")}


def spread(model: torch.nn.Module) -> None:
    """Move every weight off its start, from torch's global generator."""
    for name, weight in model.named_parameters():
        if name.endswith(("gamma_v", "gamma_l")):
            weight.normal_(0, 0.5)
        elif "bbox_embed" in name and ".layers.2." in name:
            weight.normal_(0, 0.1)
        elif name == "bert.embeddings.word_embeddings.weight":
            weight.normal_()  # words that differ
        elif name.startswith("bert."):
            weight.add_(torch.randn_like(weight), alpha=0.2)
        elif name == "feat_map.weight":
            weight.normal_(0, 0.5)
        elif name == "transformer.tgt_embed.weight":
            weight.normal_(0, 3)  # queries that differ
        elif "decoder.layers" in name and name.endswith(("out_proj.weight", "linear2.weight")):
            weight.normal_(0, 0.02)  # … and stay different
        elif "decoder.layers" in name and name.endswith("output_proj.weight"):
            weight.normal_(0, 0.05)
        else:
            weight.add_(torch.randn_like(weight), alpha=0.05)
    model.transformer.decoder.norm.weight.mul_(0.15)
    model.transformer.decoder.norm.bias.mul_(0.15)


def unshared(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor under its first name only, as safetensors wants it and published conversions do."""
    first: dict[int, str] = {}
    for name, tensor in weights.items():
        first.setdefault(tensor.data_ptr(), name)
    return {name: weights[name].contiguous() for name in first.values()}


def save_text_encoder(folder: Path, sizes: Mapping[str, int]) -> BertConfig:
    """config.json and a tokenizer of few words and all letters, numbered as GroundingDINO expects."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [f"[unused{k}]" for k in range(1100)]
    fixed = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?", 1010: "-"}
    for place, token in fixed.items():
        vocabulary[place] = token
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    for place, token in enumerate([*letters, *(f"##{c}" for c in letters), "'", "&", "/", "+", *WORDS], start=200):
        vocabulary[place] = token
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizer(vocab={token: place for place, token in enumerate(vocabulary)}).save_pretrained(folder)
    text = BertConfig(vocab_size=len(vocabulary), **sizes)
    text.save_pretrained(folder)
    return text
