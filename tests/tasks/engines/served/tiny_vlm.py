"""A vision-language model of a few hundred thousand random weights, saved as any checkpoint is, for real servers.

It knows bytes and nothing else, so its answers are noise; what a server makes of requests around it is real.
"""

import itertools
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    Qwen2TokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tiny(folder: Path, seed: int = 0) -> None:
    """A Qwen3-VL with its processor, loadable by transformers and vLLM."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 32768,
            "rope_scaling": {"rope_type": "default", "mrope_section": [12, 10, 10], "mrope_interleaved": True},
            "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 64,
            "patch_size": 16, "spatial_merge_size": 2, "num_position_embeddings": 256, "deepstack_visual_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    model.save_pretrained(folder)
    sides = {"shortest_edge": 32 * 32, "longest_edge": 256 * 256}
    images = Qwen2VLImageProcessor(patch_size=16, merge_size=2, temporal_patch_size=2, size=sides)
    videos = Qwen3VLVideoProcessor(patch_size=16, merge_size=2, temporal_patch_size=2)
    processor = Qwen3VLProcessor(image_processor=images, tokenizer=tokenizer, video_processor=videos)
    processor.chat_template = tokenizer.chat_template = TEMPLATE
    processor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_in_hub_cache(cache: Path, name: str, seed: int = 0) -> None:
    """The same in the layout of a hub cache, where servers that list their models look."""
    commit = "0" * 40
    home = cache / f"models--{name.replace('/', '--')}"
    save_tiny(home / "snapshots" / commit, seed)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)


def make_tokenizer(pieces: int = 0) -> Qwen2TokenizerFast:
    """Bytes, so many pieces of two or three letters that mean nothing, and the tokens of a chat."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = [letter for letter in alphabet if letter.isascii() and letter.isalpha()]
    pairs = [(a, b) for a in letters for b in letters]
    longer = ((a + b, c) for a, b in pairs for c in letters)
    merges = list(itertools.islice(itertools.chain(pairs, longer), pieces))
    vocabulary = {piece: n for n, piece in enumerate([*alphabet, *(a + b for a, b in merges)])}
    core = Tokenizer(BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL))
    return Qwen2TokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=None)
