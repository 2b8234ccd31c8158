"""The `grounding_dino` engine: frames and class nouns in, boxes with confidences out.

engines: {detector: {name: grounding_dino, options: {checkpoint: groundingdino_swinb_cogcoor.pth, config: SwinB}}}
"""

import hashlib
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from tasks.engines.base import Frames, Proposal, ranked
from tasks.engines.devices import in_parts, pick_device, pick_dtype
from tasks.engines.grounding_dino import boxes, sources
from tasks.engines.grounding_dino.architecture import KNOWN, architecture_of
from tasks.engines.grounding_dino.network import Network
from tasks.engines.grounding_dino.options import DinoOptions
from tasks.engines.grounding_dino.pixels import to_pixels
from tasks.engines.grounding_dino.prompts import Prompt, build_prompts
from tasks.errors import InfrastructureError, UserError
from tasks.store.folder import Folder

Reading = tuple[boxes.Floats, boxes.Floats, boxes.Floats]

_SHORT = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class GroundingDino:
    """A `Detector`. Threads share it; one forward runs at a time. Weights load with the first clip or by `check`."""

    Options = DinoOptions

    def __init__(self, options: DinoOptions, home: Folder) -> None:  # noqa: ARG002 nothing is kept between runs
        self.options = options
        self.device = pick_device(options.device, sources.WHAT)
        self.dtype = pick_dtype(options.precision, self.device)
        self._version = sources.package_version(options.implementation)
        if options.implementation == "groundingdino":
            self._sizes = architecture_of(options.config, sources.WHAT)
        sources.check_files(options)
        self._lock = threading.Lock()
        self._network: Network | None = None
        self._found = ""
        self._fits = options.batch

    @cached_property
    def identity(self) -> str:
        o = self.options
        weights, text = sources.digest(o)
        kind = f"transformers {self._version}"
        if o.implementation == "groundingdino":
            kind = f"groundingdino-py {self._version} {self._sizes_found() or o.config}"
        return (
            f"GroundingDINO, {kind}, weights {weights}, text {text}, box>{o.box_threshold:g}, text>{o.text_threshold:g}"
            f", nms {o.nms_iou:g}, {o.shorter}/{o.longer}, {_SHORT[self.dtype]}"
        )

    @property
    def resolved(self) -> str:
        """What the settings leave open, as it was when the network was loaded; loads it where it is not yet."""
        with self._lock:
            self._load()
        return self._found

    def _sizes_found(self) -> str:
        """A digest of sizes that the settings do not name but point to, else nothing."""
        if self.options.implementation == "transformers" or self.options.config in KNOWN:
            return ""
        return hashlib.sha256(self._sizes.model_dump_json().encode()).hexdigest()[:12]

    def check(self) -> str:
        """Load all and detect once on a grey frame. UserError says what to do; the line is for people."""
        grey = np.full((1, 64, 96, 3), 127, np.uint8)
        with self._lock:
            network = self._load()
            if not build_prompts(["person"], network.tokenizer, network.text_limit):
                raise UserError(f"{sources.WHAT}: the text encoder does not know 'person': is it an English BERT?")
        self.propose(grey, ["person"], 1)
        o = self.options
        kind = o.config if o.implementation == "groundingdino" else o.checkpoint
        return (
            f"GroundingDINO {Path(kind).name} by {o.implementation} {self._version}, {self.device}, "
            f"{_SHORT[self.dtype]}, {network.parameters / 1e6:.1f} M parameters"
        )

    def propose(self, frames: Frames, nouns: Sequence[str], limit: int) -> list[Proposal]:
        """At most `limit` boxes per frame and noun, in the order of `ranked`.

        frames: RGB uint8 [T, H, W, 3]. A noun that means nothing to the text encoder has no box. InfrastructureError
        where a single frame does not fit the device; UserError where the network cannot be loaded or gives no numbers.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(f"frames must be RGB uint8 [T, H, W, 3], not {frames.dtype} {frames.shape}")
        if not frames.size or not nouns or limit < 1:
            return []
        found: list[Proposal] = []
        thresholds = (self.options.box_threshold, self.options.text_threshold)
        with self._lock:
            network = self._load()
            for prompt in build_prompts(nouns, network.tokenizer, network.text_limit):
                for frame, reading in enumerate(self._read(network, frames, prompt)):
                    size = (frames.shape[1], frames.shape[2])
                    found += boxes.propose(reading, frame, prompt, size, thresholds, self.options.nms_iou, limit)
        return ranked(found, nouns)

    def release(self) -> None:
        """Let go of the network; the next clip loads it again."""
        with self._lock:
            self._network = None

    def _read(self, network: Network, frames: Frames, prompt: Prompt) -> list[Reading]:
        """Per frame the scores of the prompt's nouns and the boxes, as many frames at once as memory holds."""

        def run(part: Sequence[int]) -> list[Reading]:
            try:
                return self._forward(network, frames[list(part)], prompt)
            except torch.cuda.OutOfMemoryError:
                self._fits = max(1, len(part) // 2)  # the next clip starts there
                raise

        return in_parts(range(len(frames)), run, self._fits, sources.WHAT)

    @torch.inference_mode()
    def _forward(self, network: Network, frames: Frames, prompt: Prompt) -> list[Reading]:
        pixels = to_pixels(frames, self.options.shorter, self.options.longer, self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits, places = network(pixels, prompt)
        scores, weakest = boxes.noun_scores(logits, prompt.words)
        arrays = [t.float().cpu().numpy() for t in (scores, weakest, places)]
        return list(zip(*arrays, strict=True))

    def _load(self) -> Network:
        """The network, loaded on first use. The caller holds the lock."""
        if self._network is None:
            o = self.options
            text_encoder = sources.tokenizer_name(o)
            try:
                if o.implementation == "groundingdino":
                    from tasks.engines.grounding_dino.upstream import load_upstream

                    path = Path(o.checkpoint).expanduser()
                    self._network = load_upstream(path, self._sizes, *text_encoder, self.device)
                else:
                    from tasks.engines.grounding_dino.ported import load_ported

                    self._network = load_ported(o.checkpoint, o.revision, text_encoder, self.device)
            except torch.cuda.OutOfMemoryError as error:
                raise InfrastructureError(f"{sources.WHAT}: the GPU's memory does not hold the weights") from error
            self._found = sources.found(o) + (f", sizes {sizes}" if (sizes := self._sizes_found()) else "")
        return self._network
