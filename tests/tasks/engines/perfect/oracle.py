"""The world's truth as the pixels of normalised clips show it: what the perfect engines know.

Engines see frames, nouns and boxes, never a clip's name. The oracle knows every frame of a build's clips by the digest
of its pixels, and so tells them which clip and which moment they look at.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import av
import numpy as np
from numpy.typing import NDArray

from flows.cli.world import reached
from flows.context import Context
from schemas import Box, Captioned, Clip
from schemas.base import InstanceId
from schemas.truth import TrueInstance, VideoTruth
from tasks.engines.base import Frames
from tasks.ingest.decode import Shown
from tasks.ingest.normalise import Fitter
from tasks.media.clips import decode_mask, encode_mask, read_frames
from tasks.outcome import Case
from tasks.world.score.pairing import pair
from tasks.world.score.truth_masks import bounding_box

Mask = NDArray[np.bool_]

MIN_PIXELS = 16
"""What shows fewer pixels is out of sight, as for stage `track`."""


@dataclass
class Scene:
    """One clip with its truth. True IDs are the drawing's, names are the caption's IDs."""

    clip: Clip
    truth: VideoTruth
    names: dict[InstanceId, InstanceId]
    """Caption ID per true ID, for those that the caption stage named."""
    _rles: dict[tuple[InstanceId, int], str | None] = field(default_factory=dict)
    _boxes: dict[tuple[InstanceId, int], Box | None] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """Names the clip for draws of errors: the same whatever its pixels."""
        return f"{self.truth.video} {self.clip.window.scene} {self.clip.window.index}"

    @cached_property
    def instances(self) -> dict[InstanceId, TrueInstance]:
        return {i.id: i for i in self.truth.instances}

    @cached_property
    def _fit(self) -> Fitter:
        return Fitter(self.clip.width, self.clip.height)

    def rle(self, true_id: InstanceId, frame: int) -> str | None:
        """The instance's pixels in a frame of the clip, as run lengths.

        Drawn by ingest's own scaling and cropping, half covered pixels counting: how a model that looks at the clip
        would see it, and not by the coordinates that the scorer maps the truth with.
        """
        source = self.clip.window.source_frames[frame]
        key = (true_id, source)
        if key not in self._rles:
            masks = self.instances[true_id].masks
            rle = masks[source] if source < len(masks) else None
            self._rles[key] = self._seen(rle) if rle is not None else None
        return self._rles[key]

    def _seen(self, rle: str) -> str | None:
        drawn = decode_mask(rle, self.truth.height, self.truth.width).astype(np.uint8) * 255
        frame = av.VideoFrame.from_ndarray(np.repeat(drawn[..., None], 3, axis=2), format="rgb24")
        mask = self._fit(Shown(0, Fraction(0), frame, sound=True))[..., 0] >= 128
        return encode_mask(mask) if mask.sum() >= MIN_PIXELS else None

    def mask(self, true_id: InstanceId, frame: int) -> Mask:
        return decode_mask(self.rle(true_id, frame), self.clip.height, self.clip.width)

    def box(self, true_id: InstanceId, frame: int) -> Box | None:
        """The smallest box around what is to be seen; None where nothing is."""
        key = (true_id, self.clip.window.source_frames[frame])
        if key not in self._boxes:
            self._boxes[key] = bounding_box(self.mask(true_id, frame))
        return self._boxes[key]

    def size(self, true_id: InstanceId, frame: int) -> float:
        """Area of the box; 0 where nothing is to be seen."""
        box = self.box(true_id, frame)
        return (box.x1 - box.x0) * (box.y1 - box.y0) if box else 0.0

    def shown(self, box: Box, frame: int, cls: str | None = None) -> InstanceId | None:
        """The instance (of a class, where given) whose box has most in common with `box`, at least half."""
        found = [
            (box.iou(own), i.id)
            for i in self.truth.instances
            if (cls is None or i.cls == cls) and (own := self.box(i.id, frame)) is not None
        ]
        overlap, who = max(found, default=(0.0, None))
        return who if overlap >= 0.5 else None

    def alike(self, true_id: InstanceId) -> list[InstanceId]:
        """The other instances of its class."""
        cls = self.instances[true_id].cls
        return [i.id for i in self.truth.instances if i.cls == cls and i.id != true_id]


class Oracle:
    """All scenes of a build, found by their frames."""

    def __init__(self, truths: Iterable[VideoTruth]) -> None:
        self._truths = {t.video: t for t in truths}
        self.scenes: dict[str, Scene] = {}
        """By clip_id."""
        self._places: dict[bytes, tuple[Scene, int]] = {}

    def learn(self, build: Context) -> None:
        """Take in every clip that passed dedupe; its caption must be through by then."""
        for case in reached(build):
            scene = self.scenes[case.clip.clip_id] = self._scene(case)
            with build.folder.open(case.clip.path) as stream:
                frames = read_frames(stream)
            for t, frame in enumerate(frames):
                self._places.setdefault(_digest(frame), (scene, t))

    def _scene(self, case: Case) -> Scene:
        names = (uri.rsplit("/", 1)[-1] for uri in case.clip.source.uris)
        truth = next(self._truths[name] for name in names if name in self._truths)
        paired = pair(case.of(Captioned), truth).instances if case.get(Captioned) else {}
        return Scene(case.clip, truth, {theirs: ours for ours, theirs in paired.items()})

    def find(self, frame: NDArray[np.uint8]) -> tuple[Scene, int]:
        """Which clip a frame is of, and its place there. KeyError for pixels that no clip has."""
        return self._places[_digest(frame)]

    def scene(self, frames: Frames) -> Scene:
        """The clip that all of these frames are of."""
        (found,) = {id(scene): scene for scene, _ in map(self.find, frames)}.values()
        return found


def _digest(frame: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(frame), digest_size=16).digest()
