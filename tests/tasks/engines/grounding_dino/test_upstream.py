"""groundingdino-py on today's transformers and torch: its text encoder, its attention, its weights."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from tasks.engines.grounding_dino.architecture import KNOWN
from tasks.engines.grounding_dino.upstream import build, give_back_masks
from tests.tasks.engines.tiny_dino import SIZES, unshared


@pytest.fixture(scope="module")
def network(networks):
    return networks["groundingdino"]


@pytest.fixture(scope="module")
def plain(network):
    """transformers' own BertModel with the text encoder's weights."""
    bert = BertModel(network.model.bert.config).eval()
    weights = {k.removeprefix("bert."): v for k, v in network.model.state_dict().items() if k.startswith("bert.")}
    bert.load_state_dict(weights)
    return bert


def phrases(network, text):
    """What upstream's forward gives its text encoder: ids, who may look at whom, positions within the phrase."""
    from groundingdino.models.GroundingDINO.bertwarper import generate_masks_with_special_tokens_and_transfer_map

    tokens = network.tokenizer([text], return_tensors="pt")
    seen, places, _ = generate_masks_with_special_tokens_and_transfer_map(
        tokens, network.model.specical_tokens, network.tokenizer
    )
    return {"input_ids": tokens["input_ids"], "token_type_ids": tokens["token_type_ids"], "position_ids": places}, seen


def test_the_text_encoder_masks_as_transformers_does(network, plain):
    inputs, seen = phrases(network, "man . polar bear . cup .")
    assert not seen.all()
    with torch.inference_mode():
        ours = network.model.bert(**inputs, attention_mask=seen).last_hidden_state
        theirs = plain(**inputs, attention_mask=seen[:, None]).last_hidden_state
        unmasked = plain(**inputs).last_hidden_state
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (ours - unmasked).abs().max() > 0.01  # the mask is not idle


def test_padding_is_masked_as_transformers_does(network, plain):
    tokens = network.tokenizer(["man .", "polar bear . cup ."], padding=True, return_tensors="pt")
    with torch.inference_mode():
        ours = network.model.bert(**tokens).last_hidden_state
        theirs = plain(**tokens).last_hidden_state
    real = tokens["attention_mask"].bool()
    assert not real.all()
    torch.testing.assert_close(ours[real], theirs[real], rtol=1e-5, atol=1e-5)


def test_no_noun_sees_another(network):
    one, seen = phrases(network, "man . polar bear . cup .")
    two, _ = phrases(network, "man . tennis ball . cup .")
    with torch.inference_mode():
        a = network.model.bert(**one, attention_mask=seen).last_hidden_state[0]
        b = network.model.bert(**two, attention_mask=seen).last_hidden_state[0]
    torch.testing.assert_close(a[[1, 6]], b[[1, 6]])
    assert (a[3] - b[3]).abs().max() > 0.01


def test_only_this_text_encoder_is_changed(network):
    bert = BertModel(network.model.bert.config)
    give_back_masks(bert)
    assert not hasattr(BertModel(network.model.bert.config), "get_head_mask")
    mask = bert.get_extended_attention_mask(torch.tensor([[1, 1, 0]]), (1, 3), torch.device("cpu"))
    assert mask.shape == (1, 1, 1, 3)
    assert mask[0, 0, 0].tolist() == [0, 0, torch.finfo(torch.float32).min]
    assert bert.get_head_mask(None, 2) == [None, None]
    from groundingdino.models.GroundingDINO import groundingdino

    assert groundingdino.get_tokenlizer.__name__ == "groundingdino.util.get_tokenlizer"


def test_deformable_attention_is_a_bilinear_look_at_each_place():
    """The package has no compiled operator: its torch version against sums written out by hand."""
    from groundingdino.models.GroundingDINO.ms_deform_attn import multi_scale_deformable_attn_pytorch

    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[3, 5], [2, 2]])
    values = torch.randn(1, 19, 2, 4, generator=generator, dtype=torch.float64)
    places = torch.rand(1, 6, 2, 2, 3, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2  # some outside
    weights = torch.rand(1, 6, 2, 2, 3, generator=generator, dtype=torch.float64)
    found = multi_scale_deformable_attn_pytorch(values, shapes, places, weights)
    wanted = torch.zeros(6, 2, 4, dtype=torch.float64)
    for query, head, level, point in torch.cartesian_prod(*(torch.arange(n) for n in (6, 2, 2, 3))).tolist():
        height, width = shapes[level].tolist()
        grid = values[0, 15 * level : 15 + 4 * level, head].view(height, width, 4)
        x, y = (places[0, query, head, level, point] * torch.tensor([width, height]) - 0.5).tolist()
        for row in range(height):
            for column in range(width):
                share = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - row))
                wanted[query, head] += weights[0, query, head, level, point] * share * grid[row, column]
    torch.testing.assert_close(found[0], wanted.flatten(1))


def test_a_checkpoint_as_published_loads_the_same(engine, ready, saved, tmp_path, frames):
    """Under {"model": …}, every name with `module.`, with what training left behind and without BERT's pooler."""
    weights = load_file(saved["groundingdino"]["checkpoint"])
    published = {f"module.{k}": v for k, v in weights.items() if not k.startswith("bert.pooler.")}
    published["module.label_enc.weight"] = torch.zeros(4, 256)
    published["module.bert.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save({"model": published}, tmp_path / "dino.pth")
    there = engine(checkpoint=str(tmp_path / "dino.pth")).propose(frames, ["man", "cup"], 5)
    assert there == ready().propose(frames, ["man", "cup"], 5)
    assert there


def test_weights_that_one_head_shares_need_to_be_saved_once_only(saved, network):
    on_disk = load_file(saved["groundingdino"]["checkpoint"])
    own = network.model.state_dict()
    shared = set(own) - set(on_disk)
    assert any(name.startswith("transformer.decoder.bbox_embed.1.") for name in shared)
    assert set(unshared(own)) == set(on_disk)
    for name in on_disk:
        assert torch.equal(own[name], on_disk[name]), name


@pytest.mark.parametrize("name", ["SwinT_OGC", "SwinB"])
def test_the_table_has_upstreams_sizes(name, tokenizer):
    """Against upstream's own Python files, which ship with the package and so may be read by a test."""
    from groundingdino.config import GroundingDINO_SwinB_cfg, GroundingDINO_SwinT_OGC
    from groundingdino.models.GroundingDINO.backbone import swin_transformer

    theirs = {"SwinT_OGC": GroundingDINO_SwinT_OGC, "SwinB": GroundingDINO_SwinB_cfg}[name]
    ours = KNOWN[name]
    swin = swin_transformer.build_swin_transformer(theirs.backbone, int(theirs.backbone.split("_")[2]))
    assert ours.swin.width == swin.embed_dim
    assert ours.swin.image == swin.pretrain_img_size
    assert [len(layer.blocks) for layer in swin.layers] == list(ours.swin.depths)
    assert [layer.blocks[0].num_heads for layer in swin.layers] == list(ours.swin.heads)
    assert swin.layers[0].window_size == ours.swin.window
    pairs = {
        "queries": theirs.num_queries,
        "encoder_layers": theirs.enc_layers,
        "decoder_layers": theirs.dec_layers,
        "feedforward": theirs.dim_feedforward,
        "heads": theirs.nheads,
        "levels": theirs.num_feature_levels,
        "encoder_points": theirs.enc_n_points,
        "decoder_points": theirs.dec_n_points,
        "temperature": theirs.pe_temperatureH,
        "stages": tuple(theirs.return_interm_indices),
        "learned_queries": theirs.embed_init_tgt,
        "shared_box_head": theirs.dec_pred_bbox_embed_share,
        "shared_first_stage_box_head": theirs.two_stage_bbox_embed_share,
    }
    assert {key: getattr(ours, key) for key in pairs} == pairs
    assert theirs.pe_temperatureW == theirs.pe_temperatureH
    assert (theirs.hidden_dim, theirs.max_text_len, theirs.transformer_activation) == (256, 256, "relu")


def test_other_shapes_of_the_table_can_be_built_and_run(tokenizer):
    text = BertConfig(vocab_size=1100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    for more in (
        {"stages": (3,), "levels": 2},
        {"stages": (0, 1, 2, 3), "levels": 5, "learned_queries": False},
        {"shared_box_head": False},
        {"shared_first_stage_box_head": True},
    ):
        model = build(SIZES.model_copy(update={**more, "queries": 4}), text, tokenizer)
        from tasks.engines.grounding_dino.prompts import build_prompts
        from tasks.engines.grounding_dino.upstream import UpstreamNetwork

        network = UpstreamNetwork(model, tokenizer)
        with torch.inference_mode():
            logits, boxes = network(torch.zeros(2, 3, 64, 96), build_prompts(["man"], tokenizer, 256)[0])
        assert (logits.shape, boxes.shape) == ((2, 4, 256), (2, 4, 4))
