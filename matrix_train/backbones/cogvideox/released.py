"""What is known of CogVideoX-5B-I2V without its weights."""

from typing import Any

from matrix_train.backbones.scene import Released

RELEASED = Released(
    recipe="cogvideox_5b_i2v.yaml",
    config={
        "num_attention_heads": 48,
        "attention_head_dim": 64,
        "in_channels": 32,
        "out_channels": 16,
        "time_embed_dim": 512,
        "text_embed_dim": 4096,
        "num_layers": 42,
        "sample_width": 90,
        "sample_height": 60,
        "sample_frames": 49,
        "max_text_seq_length": 226,
        "use_rotary_positional_embeddings": True,
        "use_learned_positional_embeddings": True,
    },
    clip=(49, 480, 720),
)


def sized(heads: int, blocks: int, frames: int, height: int, width: int) -> dict[str, Any]:
    """Its arguments with so many heads and blocks, for clips of this size; narrower text where it is not the 5B."""
    full = heads == RELEASED.config["num_attention_heads"]
    return {
        **RELEASED.config,
        "num_attention_heads": heads,
        "num_layers": blocks,
        "sample_frames": frames,
        "sample_height": height // 8,
        "sample_width": width // 8,
        "text_embed_dim": RELEASED.config["text_embed_dim"] if full else 64,
    }
