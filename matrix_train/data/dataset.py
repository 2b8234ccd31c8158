"""Samples as tensors: `MatrixDataset[ref]` reads, checks and cuts one entry, or the next good one after it."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info
from transformers import PreTrainedTokenizerFast

from matrix_train.attention.prompts import RoleRanges, RoleTokens, encode
from matrix_train.attention.roles import ROLES, token_weights
from matrix_train.attention.tags import tagged
from matrix_train.data.config import DataConfig, Split
from matrix_train.data.entry import Bad, BadEntry, Entry, read_entry
from matrix_train.data.geometry import Geometry, Label, drawn_to_flip, names_side
from matrix_train.data.index import read_index
from matrix_train.data.plan import Plan, Ref
from matrix_train.data.video import BrokenVideo, decode
from matrix_train.errors import UserError
from schemas import Interaction, RoleSpans
from schemas.base import InstanceId
from schemas.dataset import IndexRow
from schemas.palette import PALETTE

_COLOURS = np.array(PALETTE, dtype=np.uint8)

UNFLIPPED = "flip_names_side"
"""Counted beside the skip reasons: a sample drawn to be mirrored, whose caption names a side."""


@dataclass(frozen=True)
class TrainSample:
    """One clip with all its interactions, K. T, H, W: frames and pixels of the training clip; L: tokens."""

    ref: Ref
    key: str
    shard: str
    media: str
    """SHA-256 of the mp4."""
    caption: str
    prompt: str
    """What `input_ids` are of: the caption, with or without tags."""
    interactions: tuple[Interaction, ...]
    passed: Counter[str]
    """Why interactions have no role tokens, and `UNFLIPPED`."""
    flipped: bool
    fps: float
    """Frames a second, of those that are taken."""
    video: Tensor
    """uint8 [T, 3, H, W] in strides of [T, H, W, 3]; [1, 3, H, W] where video is not decoded beyond the first frame."""
    ids: tuple[InstanceId, ...]
    """Instances that an interaction names, I."""
    masks: Tensor
    """Their tracks, bool [I, T, H, W]."""
    pairs: Tensor
    """Places of each interaction's subject and object in `ids`, int64 [K, 2]."""
    id_map: Tensor
    """uint8 RGB [3, H, W], every instance of the clip in its colour."""
    input_ids: Tensor
    """int64 [L]."""
    text: Tensor
    """Token weights [K, 3, L] of ROLES, all zero for an interaction that the prompt does not hold."""
    bad: tuple[BadEntry, ...]
    """Entries that this sample stands in for."""


@dataclass(frozen=True)
class GaveUp:
    """No sample: the folder failed (`message`), or so many entries in a row are bad that the run must end."""

    bad: tuple[BadEntry, ...]
    message: str = ""


class MatrixDataset(Dataset[TrainSample | GaveUp]):
    """Map-style over the refs of a plan. Safe to pickle: it opens files only when it reads, in the process that does.

    A bad entry is replaced by the next good one of the epoch's order, so that every batch stays full and all ranks stay
    in step.
    """

    def __init__(
        self,
        config: DataConfig,
        split: Split,
        tokenizer: PreTrainedTokenizerFast,
        seed: int,
        batch_size: int = 1,
        world: int = 1,
        rank: int = 0,
        decode_video: bool = True,
    ) -> None:
        """decode_video: False decodes the first frame only, for latents that were made before.

        UserError as `read_index`.
        """
        self.config, self.tokenizer, self.decode_video = config, tokenizer, decode_video
        self.geometry = Geometry.of(config)
        self.source, rows, self.identity, self.labels = read_index(config, split)
        self.rows = {row.key: row for row in rows}
        self.plan = Plan(list(self.rows), seed, batch_size, world, rank)

    def __len__(self) -> int:
        """Samples of the split."""
        return len(self.rows)

    def __getitem__(self, ref: Ref) -> TrainSample | GaveUp:
        if get_worker_info() is not None:
            cv2.setNumThreads(1)
        bad: list[BadEntry] = []
        for key in self.plan.walk(ref):
            row = self.rows[key]
            try:
                return self._cut(ref, row, self.entry(row), tuple(bad))
            except Bad as problem:
                bad.append(problem.entry(row))
            except UserError as error:
                # Raised here, a worker's traceback would come with it.
                return GaveUp(tuple(bad), str(error))
            if len(bad) > self.config.max_bad_share * len(self.rows):
                break
        return GaveUp(tuple(bad))

    def entry(self, row: IndexRow) -> Entry:
        """The checked entry of a row. Bad, UserError."""
        if row.frames < self.geometry.span:
            step = f" at frame_step {self.geometry.frame_step}" if self.geometry.frame_step > 1 else ""
            raise Bad(
                "too_short", f"{row.frames} frames, {self.geometry.span} are needed for {self.geometry.frames}{step}"
            )
        return read_entry(self.source, row, self.labels.of(row.key))

    def _cut(self, ref: Ref, row: IndexRow, entry: Entry, bad: tuple[BadEntry, ...]) -> TrainSample:
        sample, taken = entry.sample, self.geometry.taken
        passed: Counter[str] = Counter()
        flip = self.config.flip > 0 and drawn_to_flip(row.key, self.plan.seed, ref.epoch, self.config.flip)
        if flip and names_side(sample.caption):
            passed[UNFLIPPED] += 1
            flip = False
        acts = sample.interactions
        said = sample.caption
        spans: list[RoleSpans | RoleRanges] = [act.spans for act in acts]
        if self.config.prompt == "tagged":
            with_tags = tagged(sample.caption, acts)
            said, spans = with_tags.prompt, list(with_tags.spans)
        prompt = encode(self.tokenizer, said, spans, self.config.max_tokens)
        passed.update(prompt.skipped())
        text = [
            token_weights(found.sets() if isinstance(found, RoleTokens) else [()] * len(ROLES), self.config.max_tokens)
            for found in prompt.interactions
        ]
        ids = tuple(dict.fromkeys(name for act in acts for name in (act.subject, act.object)))
        shown = taken if self.decode_video else taken[:1]
        room = _room(len(shown), sample.height, sample.width, 3)
        frames: NDArray[np.uint8] = room.numpy()
        try:
            decode(entry.mp4, shown, sample.frames, frames)
        except BrokenVideo as error:
            raise Bad("broken_video", str(error)) from None
        id_map = self.geometry.labels(entry.id_map, flip)
        return TrainSample(
            ref=ref,
            key=row.key,
            shard=row.shard,
            media=row.media_digest,
            caption=sample.caption,
            prompt=said,
            interactions=acts,
            passed=passed,
            flipped=flip,
            fps=sample.fps / self.geometry.frame_step,
            video=_tensor(self.geometry.video(frames, flip), frames, room).permute(0, 3, 1, 2),
            ids=ids,
            masks=self._tracks(entry, ids, flip),
            pairs=torch.tensor([[ids.index(act.subject), ids.index(act.object)] for act in acts]),
            id_map=torch.from_numpy(_COLOURS[id_map].transpose(2, 0, 1).copy()),
            input_ids=torch.tensor(prompt.input_ids),
            text=torch.stack(text),
            bad=bad,
        )

    def _tracks(self, entry: Entry, ids: tuple[InstanceId, ...], flip: bool) -> Tensor:
        room = _room(len(ids), self.geometry.frames, entry.masks.height, entry.masks.width)
        for name, frames in zip(ids, room.numpy(), strict=True):
            entry.masks.fill(name, self.geometry.taken, frames)
        filled = room.numpy().view(np.bool_)
        return _tensor(self.geometry.labels(filled, flip), filled, room.view(torch.bool))


def _room(*shape: int) -> Tensor:
    """Memory to fill, uint8. In a worker it is shared with the training process, which saves copying 85 MB a clip."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage_class: Any = torch.UntypedStorage  # as torch's own default_collate does; typed in part only
    storage = storage_class._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def _tensor(cut: NDArray[Label], filled: NDArray[Label], room: Tensor) -> Tensor:
    """What the geometry made of `filled`: the room itself where it had nothing to do."""
    return room if cut is filled else torch.from_numpy(cut)
