"""GroundingDINO, MM-GroundingDINO and LLMDet by transformers, from a folder or the hub.

LLMDet is MM-GroundingDINO trained together with a language model, which its checkpoints come without. Its network
differs from GroundingDINO's in how a box is held against a token, and reads the same text (tests: from the same weights
they give the same boxes).
"""

from typing import Any

import torch

from tasks.engines.grounding_dino.network import count, load_tokenizer, unreadable
from tasks.engines.grounding_dino.prompts import Prompt
from tasks.engines.grounding_dino.sources import KINDS, WHAT
from tasks.engines.hub import where
from tasks.errors import UserError


class PortedNetwork:
    """transformers' model behind the `Network` protocol."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.text_limit = int(model.config.max_text_len)
        self.parameters = count(model)

    def __call__(self, pixels: torch.Tensor, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.tensor(prompt.ids, device=pixels.device).expand(len(pixels), -1)
        found = self.model(pixel_values=pixels, input_ids=ids, attention_mask=torch.ones_like(ids))
        return found.logits, found.pred_boxes


def load_ported(
    checkpoint: str, revision: str | None, text_encoder: tuple[str, str | None], device: torch.device
) -> PortedNetwork:
    """The network with the checkpoint's weights, in float32, ready to infer. UserError says what does not fit.

    Only safetensors are read, and every weight must come from them.
    """
    from transformers import AutoModelForZeroShotObjectDetection

    tokenizer = load_tokenizer(*text_encoder)
    try:
        loaded: Any = AutoModelForZeroShotObjectDetection.from_pretrained(
            checkpoint,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **where(checkpoint, revision),
        )
    except Exception as error:  # whatever a file from outside makes the library raise
        raise unreadable(f"checkpoint {checkpoint}", error) from None
    model, loading = loaded
    if model.config.model_type not in KINDS:
        raise UserError(
            f"{WHAT}: checkpoint {checkpoint} is of type {model.config.model_type!r}: use {' or '.join(KINDS)}"
        )
    absent = sorted(loading["missing_keys"])
    if absent:
        raise UserError(
            f"{WHAT}: checkpoint {checkpoint} lacks {len(absent)} weights, first {absent[0]!r}: it is not whole, or "
            "of another architecture than its config.json says"
        )
    wanted = [tokenizer.cls_token, tokenizer.sep_token, ".", "?"]
    if tokenizer.convert_tokens_to_ids(wanted) != model.model.special_tokens.tolist():
        raise UserError(
            f"{WHAT}: the tokenizer {text_encoder[0]} numbers [CLS], [SEP], '.' and '?' otherwise than BERT"
        )
    if model.config.text_config.vocab_size < len(tokenizer):
        raise UserError(f"{WHAT}: the tokenizer {text_encoder[0]} has more tokens than the checkpoint's text encoder")
    return PortedNetwork(model.eval().requires_grad_(False).to(device), tokenizer)
