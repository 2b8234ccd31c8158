"""The detector engine against bare batched forwards of the same network: frames a second, and their ratio.

    python -m benchmarks.detector                        # a reduced Swin-T for a CPU; last line: one JSON object
    python -m benchmarks.detector --full --frames 32 --batch 8     # Swin-B with BERT-base, as published: for a GPU

Bare: the network on pixels that lie resized and normalised on the device, in the same batches, precision and text.
The engine starts from uint8 frames of 480 × 720 and ends with boxes per noun. Weights are random, saved and loaded by
path as a user's are. The two take turns within each round; on CUDA both are waited for.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import typer

from schemas.settings import validate
from tasks.engines.grounding_dino.architecture import KNOWN, Architecture
from tasks.engines.grounding_dino.engine import GroundingDino
from tasks.engines.grounding_dino.pixels import to_pixels
from tasks.engines.grounding_dino.prompts import build_prompts
from tasks.store.folder import Folder
from tests.tasks.engines.tiny_dino import save_random

BAR = 0.90
HEIGHT, WIDTH = 480, 720
NOUNS = ["man", "polar bear", "cup"]
REDUCED = KNOWN["SwinT_OGC"].model_copy(update={"encoder_layers": 2, "decoder_layers": 2})
SMALL_TEXT = {"num_hidden_layers": 2}


def clock(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of one `run`, with the device's work done, and seconds of processor time.

    Processor time is the steadier figure on a CPU that others use too. On CUDA it says nothing.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start, spent = time.perf_counter(), time.process_time()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, time.process_time() - spent


def median_ratio(bare_times: list[float], engine_times: list[float]) -> float:
    return round(statistics.median(b / e for b, e in zip(bare_times, engine_times, strict=True)), 3)


def bare(engine: GroundingDino, frames: np.ndarray) -> Callable[[], None]:
    """The network alone, in the engine's batches."""
    network = engine._load()
    (prompt,) = build_prompts(NOUNS, network.tokenizer, network.text_limit)
    options = engine.options
    pixels = to_pixels(frames, options.shorter, options.longer, engine.device)

    @torch.inference_mode()
    def run() -> None:
        for part in pixels.split(options.batch):
            with torch.autocast(engine.device.type, engine.dtype, enabled=engine.dtype != torch.float32):
                network(part, prompt)

    return run


def measure(
    sizes: Architecture,
    text: Mapping[str, int],
    frames: int,
    rounds: int,
    implementation: str = "groundingdino",
    **engine_options: Any,
) -> dict[str, Any]:
    """The figures, of a network of these sizes with random weights. engine_options: of the engine, as a profile's."""
    rng = np.random.default_rng(0)
    clip = np.stack(
        [cv2.resize(rng.integers(0, 256, (30, 45, 3)).astype(np.uint8), (WIDTH, HEIGHT)) for _ in range(frames)]
    )
    with tempfile.TemporaryDirectory() as name:
        options: dict[str, Any] = save_random(Path(name), implementation, 0, sizes, text) | engine_options
        engine = GroundingDino(validate(GroundingDino.Options, options), Folder(name))
        checked = engine.check()
        boxes = len(engine.propose(clip, NOUNS, 5))
        runs = {"bare": bare(engine, clip), "engine": lambda: engine.propose(clip, NOUNS, 5)}
        if engine.device.type == "cuda":
            runs["bare"]()
            torch.cuda.reset_peak_memory_stats(engine.device)
        times: dict[str, list[float]] = {who: [] for who in runs}
        spent: dict[str, list[float]] = {who: [] for who in runs}
        for number in range(rounds):
            for who in runs if number % 2 else reversed(runs):
                wall, processor = clock(runs[who], engine.device)
                times[who].append(wall)
                spent[who].append(processor)
    figures: dict[str, Any] = {
        "network": checked,
        "implementation": implementation,
        "device": torch.cuda.get_device_name(engine.device) if engine.device.type == "cuda" else "cpu",
        "precision": str(engine.dtype).removeprefix("torch."),
        "boxes": boxes,
        **{f"{who}_frames_per_s": round(frames / statistics.median(t), 3) for who, t in times.items()},
        "ratio": median_ratio(times["bare"], times["engine"]),
        "bar": BAR,
    }
    if engine.device.type == "cpu":
        figures["processor_ratio"] = median_ratio(spent["bare"], spent["engine"])
    else:
        figures["peak_gib"] = round(torch.cuda.max_memory_allocated(engine.device) / 2**30, 2)
    return figures


def main(
    full: bool = False,
    implementation: str = "groundingdino",
    device: str = "auto",
    precision: str = "auto",
    frames: int = 4,
    batch: int = 2,
    shorter: int = 0,
    rounds: int = 5,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    sizes, text = (KNOWN["SwinB"], {}) if full else (REDUCED, SMALL_TEXT)
    # A CPU takes many seconds a frame at 800: the reduced run looks at a third of it.
    shorter = shorter or (800 if full else 256)
    figures = measure(
        sizes, text, frames, rounds, implementation,
        shorter=shorter, longer=1333, batch=batch, device=device, precision=precision,
    )  # fmt: skip
    print(
        f"engine {figures['engine_frames_per_s']} frames/s, bare {figures['bare_frames_per_s']} frames/s, "
        f"ratio {figures['ratio']} (median of {rounds} rounds), by processor time {figures.get('processor_ratio', '-')}"
    )
    print(f"bar: ratio >= {BAR}: {'met' if figures['ratio'] >= BAR else 'MISSED'}")
    print(json.dumps(figures))


if __name__ == "__main__":
    typer.run(main)
