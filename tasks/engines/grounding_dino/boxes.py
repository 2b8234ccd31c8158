"""From a network's scores per token to boxes per noun: the one post-processing of both implementations.

The score of a query for a noun is the highest sigmoid over the noun's own tokens. A query is a box of a noun where that
score exceeds `box_threshold`, and where every word of the noun has a token that exceeds `text_threshold`: "bear" alone
is no "polar bear" (upstream's phrase would not hold the noun in full). Where several nouns pass, the box is that of the
one with the highest score, the first named of equals.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms

from schemas import Box
from tasks.engines.base import Proposal
from tasks.engines.grounding_dino.prompts import Prompt, Words
from tasks.errors import UserError

Floats = NDArray[np.float32]


def noun_scores(logits: torch.Tensor, words: Sequence[Words]) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the nouns and of their weakest words, both float32 [T, Q, nouns].

    logits: [T, Q, tokens], −inf where there is no token.
    """
    tokens = logits.float().sigmoid()
    per_word = [torch.stack([tokens[..., list(w)].amax(-1) for w in noun], -1) for noun in words]
    return torch.stack([w.amax(-1) for w in per_word], -1), torch.stack([w.amin(-1) for w in per_word], -1)


def propose(
    reading: tuple[Floats, Floats, Floats],
    frame: int,
    prompt: Prompt,
    size: tuple[int, int],
    thresholds: tuple[float, float],
    nms_iou: float,
    limit: int,
) -> list[Proposal]:
    """The boxes of one frame, noun by noun, confidence falling, at most `limit` each.

    reading: scores [Q, nouns], scores of the weakest words [Q, nouns], boxes [Q, 4] as centre, width and height in
    shares of the frame. size: (height, width) of the frame in pixels. thresholds: box, text. Boxes are clipped to the
    frame; what is then less than a pixel wide or high is dropped. Ties go by the box's place: top, left, bottom, right.
    UserError where the network gave no numbers.
    """
    scores, weakest, relative = reading
    if not (np.isfinite(scores).all() and np.isfinite(weakest).all() and np.isfinite(relative).all()):
        raise UserError(
            "detector: GroundingDINO gave values that are no numbers: the checkpoint is damaged, or half precision "
            "overflowed: set precision: fp32"
        )
    height, width = size
    corners = _corners(relative.astype(np.float64)) * (width, height, width, height)
    corners = np.clip(corners, 0, (width, height, width, height))
    whole = (corners[:, 2:] - corners[:, :2]).min(1) >= 1
    passing = np.where((scores > thresholds[0]) & (weakest > thresholds[1]) & whole[:, None], scores, -1.0)
    owner = passing.argmax(1)  # the first of equals
    found: list[Proposal] = []
    for number, nouns in enumerate(prompt.nouns):
        rows = np.flatnonzero((owner == number) & (passing[:, number] >= 0))
        own, at = scores[rows, number], corners[rows]
        order = np.lexsort((at[:, 2], at[:, 3], at[:, 0], at[:, 1], -own))
        own, at = own[order], at[order]
        kept = nms(torch.from_numpy(at), torch.from_numpy(own.astype(np.float64)), nms_iou)[:limit].tolist()
        for noun in nouns:
            for k in kept:
                x0, y0, x1, y1 = at[k].tolist()
                found.append(Proposal(frame, noun, Box(x0=x0, y0=y0, x1=x1, y1=y1), float(own[k])))
    return found


def _corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate((centre - half, centre + half), 1)
