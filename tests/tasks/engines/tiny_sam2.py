"""SAM2 with random weights, small enough for a CPU, of the real classes and saved as users have it on disk.

Both implementations get the same numbers under their own names, so that they can be held against each other.
"""

import re
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import JsonValue
from transformers import Sam2VideoConfig, Sam2VideoModel, Sam3TrackerVideoConfig, Sam3TrackerVideoModel

from tasks.engines.sam2 import build

IMAGE_SIZE = 128
WIDTH = 128
"""Channels of neck, memory attention and decoder; memories have half of it, which transformers has fixed at 64."""


def save_tiny(folder: Path, implementation: str, seed: int) -> dict[str, JsonValue]:
    """Writes a tiny model into `folder` and returns the options of a tracker that uses it."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = tiny_network(seed).state_dict()
    if implementation == "sam2":
        (folder / "tiny.yaml").write_text(yaml.safe_dump({"model": tiny_architecture()}))
        torch.save({"model": weights}, folder / "tiny.pt")
        return {"checkpoint": str(folder / "tiny.pt"), "config": str(folder / "tiny.yaml"), "device": "cpu"}
    if implementation == "sam3":
        tiny_sam3(seed).save_pretrained(folder)
        return {"implementation": "transformers", "checkpoint": str(folder), "device": "cpu"}
    ported = Sam2VideoModel(ported_config())
    ported.load_state_dict(to_ported(weights))
    ported.save_pretrained(folder)
    return {"implementation": "transformers", "checkpoint": str(folder), "device": "cpu"}


def tiny_network(seed: int) -> Any:
    """A `SAM2VideoPredictor` whose masks depend on frame, prompt and memory, and are now and then empty."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build.build(tiny_architecture() | build.FORCED)
        state = network.state_dict()
        for name, value in state.items():
            if name.endswith(".gamma"):  # 1e-6 as trained from: the memory would be the same whatever the mask
                value.fill_(0.5)
            elif value.ndim > 1 and "gaussian" not in name:
                value.mul_(1.6)
        last = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
        state[last].fill_(1.0)
    network.load_state_dict(state)
    return network


def tiny_architecture() -> dict[str, Any]:
    """The `model` section of sam2.1_hiera_t with every width cut down."""
    half = WIDTH // 2
    model = build.read_config("sam2.1_hiera_t", IMAGE_SIZE)
    for key in build.FORCED:
        del model[key]
    encoder, attention, memory = model["image_encoder"], model["memory_attention"], model["memory_encoder"]
    encoder["trunk"] |= {"embed_dim": 8, "stages": [1, 1, 2, 1], "global_att_blocks": [3]}
    encoder["neck"] |= {"d_model": WIDTH, "backbone_channel_list": [64, 32, 16, 8]}
    encoder["neck"]["position_encoding"]["num_pos_feats"] = WIDTH
    layer = attention["layer"]
    for part in (layer["self_attention"], layer["cross_attention"]):
        part |= {"embedding_dim": WIDTH, "feat_sizes": [IMAGE_SIZE // 16] * 2}
    layer["cross_attention"]["kv_in_dim"] = half
    layer |= {"d_model": WIDTH, "dim_feedforward": 2 * WIDTH}
    attention |= {"d_model": WIDTH, "num_layers": 2}
    memory |= {"in_dim": WIDTH, "out_dim": half}
    memory["position_encoding"]["num_pos_feats"] = half
    memory["mask_downsampler"]["embed_dim"] = WIDTH
    memory["fuser"]["layer"]["dim"] = WIDTH
    return {"_target_": "sam2.modeling.sam2_base.SAM2Base"} | model


def ported_config() -> Sam2VideoConfig:
    """The same architecture in transformers' words."""
    levels = [[IMAGE_SIZE // stride] * 2 for stride in (4, 8, 16)]
    return Sam2VideoConfig(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [IMAGE_SIZE, IMAGE_SIZE],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "global_attention_blocks": [3],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": levels,
            "fpn_hidden_size": WIDTH,
        },
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": IMAGE_SIZE},
        mask_decoder_config={"hidden_size": WIDTH, "iou_head_hidden_dim": 256},
        image_size=IMAGE_SIZE,
        memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=2 * WIDTH,
        memory_attention_rope_feat_sizes=levels[-1],
        memory_encoder_hidden_size=WIDTH,
        memory_encoder_output_channels=WIDTH // 2,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=4 * WIDTH,
    )


def tiny_sam3(seed: int) -> Sam3TrackerVideoModel:
    """SAM3's tracker, whose masks depend on frame, prompt and memory, and are now and then empty.

    Its patches are of 14 pixels, so the input is a little smaller.
    """
    side = 112
    config = Sam3TrackerVideoConfig(
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 2, "image_size": side, "pretrain_image_size": 56, "window_size": 4,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": WIDTH,
        },
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": side},
        mask_decoder_config={"hidden_size": WIDTH, "iou_head_hidden_dim": 256},
        image_size=side,
        memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=2 * WIDTH,
        memory_encoder_hidden_size=WIDTH,
        memory_encoder_output_channels=WIDTH // 2,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=4 * WIDTH,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sam3TrackerVideoModel(config)
        for name, weight in model.state_dict().items():
            if name.endswith(".scale"):
                weight.fill_(0.5)
            elif weight.ndim > 1 and weight.is_floating_point():
                weight.normal_(0, 1.6 / weight[0].numel() ** 0.5)
        model.state_dict()["mask_decoder.pred_obj_score_head.proj_out.bias"].fill_(1.0)
    return model


PLACES = "shared_image_embedding.positional_embedding"

RENAMED = [
    (r"^maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed", "no_memory_embedding"),
    (r"^no_mem_pos_enc", "no_memory_positional_encoding"),
    (r"^no_obj_ptr", "no_object_pointer"),
    (r"^no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
    (r"^obj_ptr_proj", "object_pointer_proj"),
    (r"^image_encoder\.trunk\.patch_embed\.proj", "vision_encoder.backbone.patch_embed.projection"),
    (r"^image_encoder\.trunk", "vision_encoder.backbone"),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv", r"vision_encoder.neck.convs.\1"),
    (
        r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
        PLACES,
    ),
    (r"^sam_prompt_encoder\.mask_downscaling\.0", "prompt_encoder.mask_embed.conv1"),
    (r"^sam_prompt_encoder\.mask_downscaling\.1", "prompt_encoder.mask_embed.layer_norm1"),
    (r"^sam_prompt_encoder\.mask_downscaling\.3", "prompt_encoder.mask_embed.conv2"),
    (r"^sam_prompt_encoder\.mask_downscaling\.4", "prompt_encoder.mask_embed.layer_norm2"),
    (r"^sam_prompt_encoder\.mask_downscaling\.6", "prompt_encoder.mask_embed.conv3"),
    (r"^sam_prompt_encoder", "prompt_encoder"),
    (r"^sam_mask_decoder\.output_upscaling\.0", "mask_decoder.upscale_conv1"),
    (r"^sam_mask_decoder\.output_upscaling\.1", "mask_decoder.upscale_layer_norm"),
    (r"^sam_mask_decoder\.output_upscaling\.3", "mask_decoder.upscale_conv2"),
    (r"^sam_mask_decoder", "mask_decoder"),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"^memory_encoder\.pix_feat_proj", "memory_encoder.feature_projection"),
    (r"^memory_encoder\.out_proj", "memory_encoder.projection"),
    (r"^memory_encoder\.fuser", "memory_encoder.memory_fuser"),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"^(memory_\w+|mask_decoder|vision_encoder)(.*)\.norm(\d?)\.", r"\1\2.layer_norm\3."),
    (r"\.out_proj\.", ".o_proj."),
    (r"^memory_encoder\.mask_downsampler\.encoder\.12\.", "memory_encoder.mask_downsampler.final_conv."),
]


def to_ported(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the sam2 package under the names of transformers."""
    ported: dict[str, torch.Tensor] = {}
    points = [weights[f"sam_prompt_encoder.point_embeddings.{i}.weight"] for i in range(4)]
    ported["prompt_encoder.point_embed.weight"] = torch.cat(points)
    for old, value in weights.items():
        if ".point_embeddings." in old:
            continue
        name = old
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        ported[_layers(name)] = value
    ported["prompt_encoder.shared_embedding.positional_embedding"] = ported[PLACES]
    return ported


def _layers(name: str) -> str:
    """Numbered layers of plain stacks have names of their own: first, between, last."""
    if found := re.match(r"(memory_encoder\.mask_downsampler)\.encoder\.(\d+)\.(.*)", name):
        number = int(found[2])
        return f"{found[1]}.layers.{number // 3}.{'conv' if number % 3 == 0 else 'layer_norm'}.{found[3]}"
    last = 1 if ".mlp." in name else 2
    if found := re.match(r"(.*(?:mlp|mlps\.\d|_head|object_pointer_proj))\.layers\.(\d)\.(.*)", name):
        number = int(found[2])
        middle = {0: "proj_in", last: "proj_out"}.get(number, f"layers.{number - 1}")
        return f"{found[1]}.{middle}.{found[3]}"
    return name
