"""GroundingDINO by groundingdino-py, built from checked sizes instead of upstream's Python configuration files.

Three things stand between that package and today's libraries, each met here and nowhere else: it wants three mask
helpers that `BertModel` no longer has, it imports timm by an old path, and it builds its text encoder from a name,
with weights that its own checkpoint then replaces.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tasks.engines.grounding_dino.architecture import HIDDEN, Architecture
from tasks.engines.grounding_dino.network import count, load_tokenizer, unreadable
from tasks.engines.grounding_dino.prompts import Prompt
from tasks.engines.grounding_dino.sources import WHAT
from tasks.engines.hub import where
from tasks.engines.weights import Weights, fit_weights, load_weights
from tasks.errors import UserError

# Written by training or by older libraries, and read by nobody: denoising labels, an index, BERT's unused pooler.
_UNUSED = ("label_enc.", "bert.embeddings.position_ids", "bert.pooler.")
_building = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that groundingdino-py's own code causes; nobody but its authors can act on them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Importing from timm.models.layers", FutureWarning)
        warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)
        warnings.filterwarnings("ignore", r"`torch\.cuda\.amp\.autocast", FutureWarning)
        yield


class UpstreamNetwork:
    """`groundingdino`'s model behind the `Network` protocol."""

    text_limit = 256

    def __init__(self, model: torch.nn.Module, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.parameters = count(model)

    def __call__(self, pixels: torch.Tensor, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        from groundingdino.util.misc import NestedTensor

        # Frames of a clip share one size: no pixel is padding.
        padding = torch.zeros(pixels.shape[0], *pixels.shape[2:], dtype=torch.bool, device=pixels.device)
        with _quiet():
            found = self.model(NestedTensor(pixels, padding), captions=[prompt.text] * len(pixels))
        return found["pred_logits"], found["pred_boxes"]


def load_upstream(
    checkpoint: Path, sizes: Architecture, text_encoder: str, revision: str | None, device: torch.device
) -> UpstreamNetwork:
    """The network with the checkpoint's weights, in float32, ready to infer. UserError says what does not fit."""
    from transformers import BertConfig

    tokenizer = load_tokenizer(text_encoder, revision)
    try:
        text = BertConfig.from_pretrained(text_encoder, **where(text_encoder, revision))
    except Exception as error:  # whatever a file from outside makes the library raise
        raise unreadable(f"text encoder {text_encoder}", error) from None
    if text.vocab_size < len(tokenizer):
        raise UserError(f"{WHAT}: text encoder {text_encoder} has more tokens in its tokenizer than in its config.json")
    weights = load_weights(checkpoint, WHAT)
    model = build(sizes, text, tokenizer)
    fit_weights(model, _completed(weights, model), WHAT, ignore=_UNUSED)
    return UpstreamNetwork(model.to(device), tokenizer)


@_quiet()
def build(sizes: Architecture, text: Any, tokenizer: Any) -> Any:
    """The network with random weights, evaluating, without gradients.

    text: a BertConfig. Needs no weights of BERT: a checkpoint of GroundingDINO brings them.
    """
    from groundingdino.models.GroundingDINO import groundingdino
    from groundingdino.models.GroundingDINO.backbone.backbone import Joiner
    from groundingdino.models.GroundingDINO.backbone.position_encoding import build_position_encoding
    from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer
    from groundingdino.models.GroundingDINO.transformer import build_transformer
    from transformers import BertModel

    terms = SimpleNamespace(**_arguments(sizes))
    swin = SwinTransformer(
        pretrain_img_size=sizes.swin.image,
        embed_dim=sizes.swin.width,
        depths=list(sizes.swin.depths),
        num_heads=list(sizes.swin.heads),
        window_size=sizes.swin.window,
        out_indices=sizes.stages,
    )
    backbone = Joiner(swin, build_position_encoding(terms))
    backbone.num_channels = swin.num_features[4 - len(sizes.stages) :]
    bert = BertModel(text)
    give_back_masks(bert)
    names = SimpleNamespace(get_tokenlizer=lambda _: tokenizer, get_pretrained_language_model=lambda _: bert)
    # Upstream looks its text encoder up by name while it is built. For that moment, in that one module, the names lead
    # to ours.
    with _building:
        theirs = groundingdino.get_tokenlizer
        groundingdino.get_tokenlizer = names
        try:
            model = groundingdino.GroundingDINO(
                backbone,
                build_transformer(terms),
                num_queries=sizes.queries,
                aux_loss=False,
                iter_update=True,
                query_dim=4,
                num_feature_levels=sizes.levels,
                nheads=sizes.heads,
                dec_pred_bbox_embed_share=sizes.shared_box_head,
                two_stage_type="standard",
                two_stage_bbox_embed_share=sizes.shared_first_stage_box_head,
                two_stage_class_embed_share=False,
            )
        finally:
            groundingdino.get_tokenlizer = theirs
    # Without this upstream asks BERT's config for it, by a name that transformers complains about.
    model.bert.forward = partial(model.bert.forward, return_dict=True)
    return model.eval().requires_grad_(False)


def give_back_masks(bert: Any) -> None:
    """Put on this one BertModel the helpers that transformers ≥ 5.18 took away and groundingdino-py calls."""

    def additive(mask: torch.Tensor, *_: Any) -> torch.Tensor:
        """1 or True where a token may look, [B, keys] or [B, tokens, keys] → [B, 1, 1 or tokens, keys] to add."""
        seen = mask[:, None, None, :] if mask.dim() == 2 else mask[:, None, :, :]
        return torch.zeros_like(seen, dtype=bert.dtype).masked_fill(~seen.bool(), torch.finfo(bert.dtype).min)

    bert.get_extended_attention_mask = additive
    bert.invert_attention_mask = additive
    bert.get_head_mask = lambda mask, layers, *_: [mask] * layers  # upstream never masks a head: mask is None


def _arguments(sizes: Architecture) -> dict[str, Any]:
    """Upstream's names for `sizes`, with what every published checkpoint has in common."""
    return {
        "hidden_dim": HIDDEN,
        "position_embedding": "sine",
        "pe_temperatureH": sizes.temperature,
        "pe_temperatureW": sizes.temperature,
        "dropout": 0.0,
        "nheads": sizes.heads,
        "num_queries": sizes.queries,
        "dim_feedforward": sizes.feedforward,
        "enc_layers": sizes.encoder_layers,
        "dec_layers": sizes.decoder_layers,
        "pre_norm": False,
        "query_dim": 4,
        "transformer_activation": "relu",
        "num_patterns": 0,
        "num_feature_levels": sizes.levels,
        "enc_n_points": sizes.encoder_points,
        "dec_n_points": sizes.decoder_points,
        "two_stage_type": "standard",
        "embed_init_tgt": sizes.learned_queries,
        "use_text_enhancer": True,
        "use_fusion_layer": True,
        # Checkpointing trades time for memory in a backward pass, and there is none.
        "use_checkpoint": False,
        "use_transformer_ckpt": False,
        "use_text_cross_attention": True,
        "text_dropout": 0.0,
        "fusion_dropout": 0.0,
        "fusion_droppath": 0.1,
    }


def _completed(weights: Weights, model: torch.nn.Module) -> Weights:
    """The checkpoint under the model's names: no `module.`, and what a file need not repeat filled in."""
    named = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    own = model.state_dict()
    by_place: dict[int, str] = {}
    for name, tensor in own.items():
        if name in named:
            by_place.setdefault(tensor.data_ptr(), name)
    for name, tensor in own.items():
        if name not in named and name.endswith(".relative_position_index"):
            named[name] = tensor  # follows from the window's size
        elif name not in named and tensor.data_ptr() in by_place:
            named[name] = named[by_place[tensor.data_ptr()]]  # one head under several names, saved once
    return named
