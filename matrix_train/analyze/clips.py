"""A clip's reading: on its own latents, noised as at every step of sampling, or along a sampling run (paper §4)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matrix_train.analyze.reading import KINDS, NOTHING, Aim, Kept, Processors, Reading
from matrix_train.analyze.subject import Subject
from matrix_train.analyze.table import ReadRole
from matrix_train.analyze.tapping import tapped
from matrix_train.attention.kernels import attention_kernel
from matrix_train.attention.roles import ROLES, RoleWeights, query_weights, role_masks
from matrix_train.backbones.scene import Scene
from matrix_train.config import Config
from matrix_train.data import Batch, Collate, GaveUp, MatrixDataset, Ref, Split
from matrix_train.data.video import decode
from matrix_train.errors import UserError
from matrix_train.files import whole
from matrix_train.fit.inputs import Draw, Inputs, prepare
from matrix_train.fit.noise import generator
from matrix_train.generate.frames import decode_frames, generate_latents
from matrix_train.generate.mp4 import write_mp4
from matrix_train.sample.trackers import Trackers

PURPOSE, STRIDE = "analyze", 8


class Clips:
    """Clips of a split, one a batch, in an order that is a fair draw and the same each time."""

    def __init__(self, config: Config, split: Split, subject: Subject) -> None:
        # A bad entry gives no other in its place: it is left out and named, however many there are.
        data = config.data.model_copy(update={"workers": 0, "flip": 0.0, "max_bad_share": 0.0})
        self._dataset = MatrixDataset(data, split, subject.encoders.tokenizer, seed=0)
        self._together = Collate(subject.grid.frames, subject.grid.height, subject.grid.width)
        self.identity = self._dataset.identity
        self.keys = self._dataset.plan.order(0)
        self._places = {key: place for place, key in enumerate(self.keys)}

    def batch(self, key: str) -> Batch | str:
        """Or why there is none: a bad entry, no interaction in it, or nobody to be seen. UserError where the data set
        cannot be read."""
        place = self._places[key]
        found = self._together([self._dataset[Ref(0, place, place)]])
        if isinstance(found, GaveUp):
            if found.message:
                raise UserError(found.message)
            return str(found.bad[0])
        if not found.interactions[0]:
            return f"{key}: no interaction"
        return found if found.masks.any() else f"{key}: no track shows anybody"


@dataclass(frozen=True)
class Clip:
    """What is read of one clip, and what its model is given."""

    batch: Batch
    inputs: Inputs
    aim: Aim
    roles: tuple[ReadRole, ...]

    @classmethod
    def of(cls, config: Config, subject: Subject, batch: Batch) -> "Clip":
        draw = Draw(config.train.seed, PURPOSE, image_noise=False, timestep=0)
        inputs = prepare(batch, subject.encoders, subject.grid, STRIDE, draw, subject.device)
        grid = subject.grid
        # A verb spreads from all cells of its subject and its object; batches have none, for SPA leaves verbs out.
        first = role_masks(batch.masks[:, :, :1], batch.pairs, 1)[:, :, 0]
        queries = query_weights(first, grid.frames, grid.height, grid.width)
        text = batch.roles.text.dense(batch.roles.text_length)
        aim = Aim(RoleWeights.build(text, queries), inputs.cells.cpu())
        roles = []
        for r in range(text.shape[1]):
            interaction, role = divmod(r, len(ROLES))
            act = batch.interactions[0][interaction]
            spans = getattr(act.spans, ROLES[role])
            words = " … ".join(batch.captions[0][span.start : span.end] for span in spans)
            covered = int(aim.cells[0, r].sum())
            has = (bool(text[0, r].any()), bool(queries[0, r].any()))
            kinds = tuple(kind for kind, there in zip(KINDS, has, strict=True) if there and covered)
            roles.append(ReadRole(interaction, ROLES[role], words, kinds, covered))
        return cls(batch, inputs, aim.to(subject.device), tuple(roles))


@torch.no_grad()
def read_noised(config: Config, subject: Subject, clip: Clip, timesteps: Tensor, kept: Kept = NOTHING) -> Reading:
    """The clip's own latents, with the same noise at each of these timesteps."""
    reading = Reading(kept)
    backbone, inputs = subject.backbone, clip.inputs
    processors = Processors(type(backbone), [backbone.model], reading)
    clean, noise = inputs.clean.float(), inputs.noise.float()
    try:
        with attention_kernel(config.model.attention):
            for timestep in timesteps:
                steps = timestep.to(subject.device).expand(len(clean))
                noised = subject.objective.noised(clean, noise, steps).to(inputs.clean.dtype)
                reading.begin(clip.aim, steps)
                backbone.predict(noised, inputs.conditions, steps)
                reading.end()
    finally:
        processors.restore()
    return reading


@torch.no_grad()
def sample(config: Config, subject: Subject, clip: Clip, steps: int) -> NDArray[np.uint8]:
    """The video that the model makes of the clip's first frame, ID map and caption, RGB [T, H, W, 3]: the same each
    time, and that of `fit`'s validation where it takes as many steps.

    The one place that samples.
    """
    batch = clip.batch
    image = batch.video[0, 0].permute(1, 2, 0).numpy()
    scene = Scene(
        image, batch.id_map[0].permute(1, 2, 0).numpy(), clip.inputs.conditions,
        subject.encoders.empty(config.data.max_tokens), config.data.frames, steps, config.validation.guidance,
        generator(config.train.seed, "sample", batch.keys[0]),
    )  # fmt: skip
    latents = generate_latents(subject.backbone, subject.encoders, scene, config.model.attention)
    return decode_frames(subject.encoders, latents)[: config.data.frames]


def generated_clip(config: Config, subject: Subject, clip: Clip, steps: int, trackers: Trackers, folder: Path) -> Clip:
    """The clip as the model makes it, with tracks that follow the first frame's masks; its files in the folder."""
    video = sample(config, subject, clip, steps)
    first = dict(zip(clip.batch.ids[0], clip.batch.masks[0, :, 0].bool().numpy(), strict=False))
    followed = trackers.follow(video, first)
    masks = np.zeros((clip.batch.masks.shape[1], *video.shape[:3]), dtype=bool)
    for own, name in zip(masks, first, strict=False):
        own[:] = followed[name]
    mp4, tracks = files_of(folder, clip)
    write_mp4(mp4, video, clip.batch.fps[0])
    with whole(tracks) as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, ids=list(clip.batch.ids[0]), masks=masks)
    return _made(config, subject, clip, video, masks)


def clip_again(config: Config, subject: Subject, clip: Clip, folder: Path) -> Clip:
    """The same from its files, for a look: the mp4 has lost a little."""
    mp4, tracks = files_of(folder, clip)
    masks = np.load(tracks)["masks"]
    video = np.empty((*masks.shape[1:], 3), dtype=np.uint8)
    decode(mp4.read_bytes(), range(len(video)), len(video), video)
    return _made(config, subject, clip, video, masks)


def files_of(folder: Path, clip: Clip) -> tuple[Path, Path]:
    """A generated clip's video, and its tracks [I, T, H, W] with the IDs they are of."""
    return folder / f"{clip.batch.keys[0]}.mp4", folder / f"{clip.batch.keys[0]}.tracks.npz"


def _made(config: Config, subject: Subject, clip: Clip, video: NDArray[np.uint8], masks: NDArray[np.bool_]) -> Clip:
    batch = replace(
        clip.batch, video=torch.from_numpy(video).permute(0, 3, 1, 2)[None],
        masks=torch.from_numpy(masks.view(np.uint8))[None],
    )  # fmt: skip
    return Clip.of(config, subject, batch)


def read_sampling(config: Config, subject: Subject, made: Clip, before: Clip, steps: int, kept: Kept) -> Reading:
    """Along the sampling run that makes the clip: done again, now that its tracks are known. before: the clip that it
    was made of."""
    kind, model = type(subject.backbone), subject.backbone.model
    with tapped(kind, [model], lambda *_: made.aim, lambda: config.validation.guidance > 1, kept) as reading:
        sample(config, subject, before, steps)
    return reading
