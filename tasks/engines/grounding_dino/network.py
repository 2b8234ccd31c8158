"""What both implementations look like from here, and the text encoder they share."""

from typing import Any, Protocol

import torch

from tasks.engines.grounding_dino.prompts import Prompt
from tasks.engines.grounding_dino.sources import WHAT
from tasks.engines.hub import where
from tasks.errors import UserError


class Network(Protocol):
    """A loaded GroundingDINO on its device."""

    tokenizer: Any
    text_limit: int
    """Most tokens of a prompt."""
    parameters: int

    def __call__(self, pixels: torch.Tensor, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 [T, 3, h, w] → logits [T, Q, tokens], and boxes [T, Q, 4] as centre, width, height in shares."""
        ...


def load_tokenizer(name: str, revision: str | None) -> Any:
    """The text encoder's tokenizer from a folder or the hub. UserError where it cannot be had."""
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, **where(name, revision))
    except Exception as error:  # whatever a file from outside makes the library raise
        raise unreadable(f"tokenizer {name}", error) from None
    wanted = [tokenizer.cls_token, tokenizer.sep_token, ".", "?"]
    if None in wanted or tokenizer.unk_token_id in tokenizer.convert_tokens_to_ids(wanted):
        raise UserError(f"{WHAT}: tokenizer {name} lacks [CLS], [SEP], '.' or '?': GroundingDINO needs BERT's")
    return tokenizer


def unreadable(what: str, error: Exception) -> UserError:
    """One line for whatever a library says about a file or a hub name."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return UserError(f"{WHAT}: {what} cannot be loaded: correct the profile, or fetch it again: {said[:200]}")


def count(model: torch.nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())
