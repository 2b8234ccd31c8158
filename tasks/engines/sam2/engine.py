"""`Sam2Tracker`: the tracker of the GPU profile. Loaded once, with the first clip; one clip at a time, all its IDs."""

import importlib.metadata
import logging
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from schemas import Anchor, Box, Track
from schemas.tracks import Rle
from tasks.engines.anchors import Corners, boxes_within
from tasks.engines.base import Frames
from tasks.engines.devices import in_parts, pick_device, pick_dtype
from tasks.engines.sam2 import build
from tasks.engines.sam2.memory import Model
from tasks.engines.sam2.options import DEFAULT_CONFIG, Sam2Options
from tasks.engines.sam2.original import Original, compile_parts
from tasks.engines.sam2.sweep import Windows, track
from tasks.engines.weights import digest_of, fit_weights, hub_commit, load_weights
from tasks.errors import UserError
from tasks.store.folder import Folder

log = logging.getLogger(__name__)


class Sam2Tracker:
    """Masks of every ID over the whole clip, from its anchor box both ways. Overlaps are kept.

    Making one reads no weights; it raises UserError for whatever can be known without them.
    """

    Options = Sam2Options

    def __init__(self, options: Sam2Options, home: Folder) -> None:  # noqa: ARG002 a tracker keeps nothing between runs
        self.options = options
        self.device = pick_device(options.device, "sam2")
        self.dtype = pick_dtype(options.precision, self.device)
        if options.vos_optimized and self.device.type != "cuda":
            raise UserError("sam2: vos_optimized needs CUDA: set it to false, or device to cuda")
        if options.implementation == "sam2":
            self.architecture = build.read_config(options.config, options.image_size)
            _check_file(Path(options.checkpoint))
        elif _is_local(options.checkpoint):
            from tasks.engines.sam2 import ported

            ported.check_folder(Path(options.checkpoint))
        self.windows = Windows(
            options.window, options.overlap, torch.device("cpu") if options.offload_features else None
        )
        self._at_once = options.max_objects
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._found = ""

    @cached_property
    def identity(self) -> str:
        """All that decides about masks: code, weights by content, architecture, precision, image size and windows."""
        o = self.options
        package = importlib.metadata.version(o.implementation)
        weights = _digest(o) or f"{o.checkpoint}@{o.revision or 'main'}"
        if o.implementation == "sam2":
            weights = f"{_config_digest(o) or o.config or DEFAULT_CONFIG}:{weights}"
        precision = str(self.dtype).removeprefix("torch.")
        size = o.image_size or "own"
        return f"{o.engine} {o.implementation}-{package} {weights} {precision} {size} {o.window}/{o.overlap}"

    @property
    def resolved(self) -> str:
        """What the settings leave open, as it was when the model was loaded; loads it where it is not yet."""
        with self._lock:
            self._loaded()
        return self._found

    def propagate(self, frames: Frames, anchors: Sequence[Anchor]) -> list[Track]:
        """One track per anchor, in their order. frames: RGB uint8 [T, H, W, 3]; masks [H, W] may overlap.

        An anchor's box is cut to the frame; one wholly outside of it has an empty track. Raises UserError when the
        weights are wrong, InfrastructureError when CUDA's memory does not hold a single ID, ValueError when an anchor's
        frame is not in the clip.
        """
        boxes = boxes_within(frames, anchors)
        given = [(k, a.frame, b) for k, (a, b) in enumerate(zip(anchors, boxes, strict=True)) if b is not None]
        found: dict[int, list[Rle | None]] = {}
        with self._lock:
            model = self._loaded()

            def run(part: Sequence[tuple[int, int, Corners]]) -> list[list[Rle | None]]:
                try:
                    with torch.inference_mode(), self._autocast():
                        return track(model, frames, [(at, box) for _, at, box in part], self.windows)
                except torch.cuda.OutOfMemoryError:
                    self._at_once = max(1, len(part) // 2)  # later clips begin with what fits
                    raise

            for (k, _, _), masks in zip(given, in_parts(given, run, self._at_once, "sam2"), strict=True):
                found[k] = masks
        return [Track(id=a.id, masks=tuple(found.get(k, [None] * len(frames)))) for k, a in enumerate(anchors)]

    def check(self) -> str:
        """Load everything and track one box through two frames. One line for people; UserError says what to do."""
        frames = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
        box = Box(x0=20, y0=10, x1=60, y1=50)
        self.propagate(frames, [Anchor(id="id1", frame=0, box=box, score=1.0, confidence=1.0)])
        model = self._loaded()
        network = model.network
        parameters = sum(p.numel() for p in network.parameters()) / 1e6
        precision = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.dtype]
        name = Path(self.options.checkpoint).name
        size = f"{parameters:.1f} M parameters{model.licence}"
        return f"{self.options.implementation} {name}, {self.device}, {precision}, {size}"

    def release(self) -> None:
        """Let go of the model; the next clip loads it again."""
        with self._lock:
            self._model = None

    def _loaded(self) -> Model:
        if self._model is None:
            self._model = self._load()
            o = self.options
            self._found = f"weights {_digest(o) or hub_commit(o.checkpoint, o.revision)}"
            if config := _config_digest(o):
                self._found += f", config {config}"
        return self._model

    def _load(self) -> Model:
        o = self.options
        if o.implementation == "transformers":
            from tasks.engines.sam2 import ported

            return ported.Ported(ported.load(o.checkpoint, o.revision, o.image_size, self.dtype), self.device)
        network = build.build(self.architecture)
        fit_weights(network, load_weights(Path(o.checkpoint), "sam2"), "sam2")
        model = Original(network, self.device, in_powers_of_two=o.vos_optimized)
        if o.vos_optimized:
            compile_parts(network, image_encoder=o.config != "sam2.1_hiera_t")
        return model

    def _autocast(self) -> torch.autocast:
        """The sam2 package keeps its weights in fp32 and is run under autocast; transformers' are cast on loading."""
        on = self.dtype != torch.float32 and self.options.implementation == "sam2"
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=on)


def _is_local(checkpoint: str) -> bool:
    """A folder that is there, or that cannot be anything but a path; else it is a name on the hub."""
    return Path(checkpoint).exists() or checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") != 1


def _digest(options: Sam2Options) -> str | None:
    """Of local weights; None for a name on the hub."""
    if options.implementation == "sam2":
        return digest_of(Path(options.checkpoint))
    folder = Path(options.checkpoint)
    local = _is_local(options.checkpoint)
    return digest_of(folder / "config.json", *sorted(folder.glob("*.safetensors"))) if local else None


def _config_digest(options: Sam2Options) -> str | None:
    """Of an architecture that is a file; None for one of the package's, and where config.json says it."""
    return None if options.config is None or options.config in build.NAMES else digest_of(Path(options.config))


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise UserError(f"sam2: no weights at {file}: download the checkpoint, or correct `checkpoint` in the profile")
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise UserError(f"sam2: {file} cannot be read, download it again: {str(error).splitlines()[0]}") from None
