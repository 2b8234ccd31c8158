"""A causal language model of some ten thousand random weights, saved as any checkpoint is. It knows bytes alone."""

from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.tasks.engines.served.tiny_vlm import TEMPLATE, make_tokenizer


def save_tiny(folder: Path, seed: int = 0) -> None:
    """A Qwen3 with its tokenizer. Its logits are wider than the vocabulary, as published ones are."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    config = Qwen3Config(
        vocab_size=len(tokenizer) + 33, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=16_384,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
        for weight in model.parameters():
            weight.data.mul_(6)  # freshly made weights hardly tell one token from another
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
