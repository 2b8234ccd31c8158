"""groundingdino-py's weights under transformers' names, so that both implementations can be run on the same numbers."""

import re

import torch
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SwinConfig,
)

from tasks.engines.grounding_dino.architecture import HIDDEN, Architecture

# In this order; each rule sees what the one before it made.
_RULES = (
    (
        r"^backbone\.0\.norm(\d)\.",
        lambda m: f"model.backbone.conv_encoder.model.hidden_states_norms.stage{int(m[1]) + 1}.",
    ),
    (r"^backbone\.0\.patch_embed\.proj\.", "BACK.embeddings.patch_embeddings.projection."),
    (r"^backbone\.0\.patch_embed\.norm\.", "BACK.embeddings.norm."),
    (r"^backbone\.0\.layers\.", "BACK.encoder.layers."),
    (r"^(BACK.*)\.norm1\.", r"\1.layernorm_before."),
    (r"^(BACK.*)\.norm2\.", r"\1.layernorm_after."),
    (r"^(BACK.*)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"^(BACK.*)\.attn\.qkv\.", r"\1.attention.{q,k,v}_proj."),
    (r"^(BACK.*)\.attn\.(relative_position_bias_table)", r"\1.attention.relative_position_bias.\2"),
    (r"^BACK\.", "model.backbone.conv_encoder.model.swin."),
    (r"^bert\.", "model.text_backbone."),
    (r"^input_proj\.", "model.input_proj_vision."),
    (r"^feat_map\.", "model.text_projection."),
    (r"^transformer\.tgt_embed\.", "model.query_position_embeddings."),
    (r"^transformer\.enc_out_bbox_embed\.", "model.encoder_output_bbox_embed."),
    (r"^transformer\.", "model."),
    (r"^model\.encoder\.layers\.(\d+)\.", r"ENC\1.deformable_layer."),
    (r"^model\.encoder\.text_layers\.(\d+)\.", r"ENC\1.text_enhancer_layer."),
    (r"^model\.encoder\.fusion_layers\.(\d+)\.", r"ENC\1.fusion_layer."),
    (r"^(ENC\d+\.deformable_layer)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"^(ENC\d+\.deformable_layer)\.norm2\.", r"\1.final_layer_norm."),
    (r"^(ENC\d+\.text_enhancer_layer)\.norm1\.", r"\1.layer_norm_before."),
    (r"^(ENC\d+\.text_enhancer_layer)\.norm2\.", r"\1.layer_norm_after."),
    (r"^(ENC\d+\.fusion_layer)\.gamma_v$", r"\1.vision_param"),
    (r"^(ENC\d+\.fusion_layer)\.gamma_l$", r"\1.text_param"),
    (r"^(ENC\d+\.fusion_layer)\.layer_norm_v\.", r"\1.layer_norm_vision."),
    (r"^(ENC\d+\.fusion_layer)\.layer_norm_l\.", r"\1.layer_norm_text."),
    (r"^(ENC\d+\.fusion_layer\.attn\.(?:values_|out_|))v_proj", r"\1vision_proj"),
    (r"^(ENC\d+\.fusion_layer\.attn\.(?:values_|out_|))l_proj", r"\1text_proj"),
    (r"^ENC(\d+)\.", r"model.encoder.layers.\1."),
    (r"^model\.decoder\.norm\.", "model.decoder.layer_norm."),
    (r"^model\.decoder\.ref_point_head\.", "model.decoder.reference_points_head."),
    (r"^(model\.decoder\.layers\.\d+)\.norm1\.", r"\1.encoder_attn_layer_norm."),
    (r"^(model\.decoder\.layers\.\d+)\.norm2\.", r"\1.self_attn_layer_norm."),
    (r"^(model\.decoder\.layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
    (r"^(model\.decoder\.layers\.\d+)\.catext_norm\.", r"\1.encoder_attn_text_layer_norm."),
    (r"^(model\.decoder\.layers\.\d+)\.ca_text\.", r"\1.encoder_attn_text."),
    (r"^(model\.decoder\.layers\.\d+)\.cross_attn\.", r"\1.encoder_attn."),
    (r"^(model\.(?:en|de)coder\.layers\.\d+.*\.)linear([12])\.", r"\1fc\2."),
    (r"\.in_proj_(weight|bias)$", r".{query,key,value}.\1"),
)


def port(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors by transformers' names. Joint q, k, v matrices are cut in three."""
    ported = {}
    for name, tensor in weights.items():
        if name.endswith("relative_position_index") or name.startswith("bert.pooler."):
            continue
        for pattern, new in _RULES:
            name = re.sub(pattern, new, name)
        several = re.search(r"\{(\w+),(\w+),(\w+)\}", name)
        if several is None:
            ported[name] = tensor
        else:
            for part, own in zip(tensor.chunk(3), several.groups(), strict=True):
                ported[name.replace(several[0], own)] = part
    return ported


def ported_model(
    weights: dict[str, torch.Tensor], sizes: Architecture, text: BertConfig, mm: bool = False
) -> torch.nn.Module:
    """transformers' model of these sizes with these weights. Every weight must have come along, and none be left.

    mm: MM-GroundingDINO, whose biases of the scores are 0 here. It divides scores by 16, the root of its width.
    """
    swin = SwinConfig(
        image_size=sizes.swin.image,
        embed_dim=sizes.swin.width,
        depths=list(sizes.swin.depths),
        num_heads=list(sizes.swin.heads),
        window_size=sizes.swin.window,
        out_indices=[stage + 1 for stage in sizes.stages],
    )
    own = {} if mm else {"two_stage_bbox_embed_share": sizes.shared_first_stage_box_head}
    config = (MMGroundingDinoConfig if mm else GroundingDinoConfig)(
        backbone_config=swin,
        text_config=text,
        num_queries=sizes.queries,
        encoder_layers=sizes.encoder_layers,
        decoder_layers=sizes.decoder_layers,
        encoder_ffn_dim=sizes.feedforward,
        decoder_ffn_dim=sizes.feedforward,
        encoder_attention_heads=sizes.heads,
        decoder_attention_heads=sizes.heads,
        encoder_n_points=sizes.encoder_points,
        decoder_n_points=sizes.decoder_points,
        num_feature_levels=sizes.levels,
        d_model=HIDDEN,
        dropout=0.0,
        positional_embedding_temperature=sizes.temperature,
        embedding_init_target=sizes.learned_queries,
        decoder_bbox_embed_share=sizes.shared_box_head,
        **own,
    )
    model = (MMGroundingDinoForObjectDetection if mm else GroundingDinoForObjectDetection)(config)
    missing, unexpected = model.load_state_dict(port(weights), strict=False)
    # Swin's last norm belongs to its classifier; neither implementation of the detector calls it.
    biases = {name: own for name, own in model.named_parameters() if "class_embed" in name}
    for bias in biases.values():
        bias.data.zero_()
    absent = [name for name in missing if not (name in biases or (mm and "class_embed" in name))]
    assert {name.rsplit(".", 2)[1] for name in absent} <= {"layernorm"}, absent
    assert not unexpected, unexpected
    return model.eval()
