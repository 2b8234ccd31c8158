"""The SAM2 engine against the sam2 package's own `propagate_in_video`: frames per second, cost of IDs, memory.

    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/tracker.py speed      Hiera-T at 256, 12 frames, on a CPU
    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/tracker.py memory     the same, but no times
    PYTHONPATH=. python benchmarks/tracker.py speed memory --full          Hiera-L at 1024, 49 frames, bf16, on a GPU
    PYTHONPATH=. python benchmarks/tracker.py speed --config sam2.1_hiera_s --image-size 512 --frames 8

Both run the same network with the same random weights on the same frames, in turns; the middle of the rounds counts.
The engine's time is that of the whole call: resizing, prompts, and run lengths of every mask. Upstream's is that of
prompts and propagation, over frames that it has loaded from JPEG files before, with masks brought to the host. Ratios
are medians over the rounds, of wall time and of processor time; the latter is the steadier one on a CPU that others
use too, and says nothing on CUDA.

Memory is the peak of a process of its own (on CUDA the allocator's), for a short and a longer clip and for one and
more IDs; the clip itself, which is the caller's, is taken off.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"  # upstream's progress bars

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image

from schemas import Anchor
from schemas.settings import validate
from tasks.engines.sam2 import build
from tasks.engines.sam2.engine import Sam2Tracker
from tasks.engines.sam2.options import Sam2Options
from tasks.store.folder import Folder
from tests.tasks.engines.sam2.scenes import anchor, scene
from tests.tasks.engines.sam2.upstream import both_ways

HEIGHT, WIDTH = 480, 720
IDS = 5

Spent = tuple[float, float]
"""Seconds of wall time and of processor time."""


def main() -> None:
    arguments = parse()
    if arguments.memory:
        print(json.dumps(peak(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments.checkpoint = str(Path(folder) / "random.pt")
        engine = make_random(arguments)
        print(f"{engine.check()}, {arguments.image_size} px, {arguments.frames} frames of {HEIGHT}x{WIDTH}")
        if "speed" in arguments.what:
            describe(speed(engine, arguments.frames, arguments.rounds, Path(folder)))
        if "memory" in arguments.what:
            memory(arguments)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=("speed", "memory"))
    parser.add_argument("--full", action="store_true", help="sam2.1_hiera_l, 1024, 49 frames, on CUDA")
    parser.add_argument("--config", choices=build.NAMES)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--device")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vos-optimized", action="store_true")
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    found = parser.parse_args(words)
    usual = ("sam2.1_hiera_l", 1024, 49, "cuda") if found.full else ("sam2.1_hiera_t", 256, 12, "auto")
    for name, value in zip(("config", "image_size", "frames", "device"), usual, strict=True):
        if getattr(found, name) is None:
            setattr(found, name, value)
    return found


def make_random(arguments: argparse.Namespace) -> Sam2Tracker:
    """Weights drawn and saved at `arguments.checkpoint`, and loaded from there."""
    torch.manual_seed(0)
    torch.save({"model": build.build(build.read_config(arguments.config, None)).state_dict()}, arguments.checkpoint)
    return make(arguments)


def make(arguments: argparse.Namespace) -> Sam2Tracker:
    options = {
        "checkpoint": arguments.checkpoint,
        "config": arguments.config,
        "image_size": arguments.image_size,
        "device": arguments.device,
        "vos_optimized": arguments.vos_optimized,
    }
    return Sam2Tracker(validate(Sam2Options, options), Folder("/nowhere"))


def anchors_on(frames: list[int]) -> list[Anchor]:
    return [anchor(k + 1, t, (40 + 130 * k, 60, 130 + 130 * k, 300)) for k, t in enumerate(frames)]


def speed(engine: Sam2Tracker, length: int, rounds: int, folder: Path, spread: bool = True) -> dict[str, Any]:
    """Seconds and frames encoded of every run, and what they are of each other. spread: with the run of five anchors on
    five frames, which upstream cannot do."""
    frames = scene(length, HEIGHT, WIDTH)
    jpegs = folder / "frames"
    jpegs.mkdir()
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(jpegs / f"{t:05d}.jpg", quality=95)
    middle, apart = length // 2, [round(k * (length - 1) / (IDS - 1)) for k in range(IDS)]
    looks = Looks(engine._loaded().network)
    runs: dict[str, Callable[[], Spent]] = {
        "upstream, 1 ID from the start": lambda: upstream(engine, jpegs, anchors_on([0])),
        "engine, 1 ID from the start": lambda: ours(engine, frames, anchors_on([0])),
        "upstream, 1 ID from the middle": lambda: upstream(engine, jpegs, anchors_on([middle])),
        "engine, 1 ID from the middle": lambda: ours(engine, frames, anchors_on([middle])),
        f"upstream, {IDS} IDs from the middle": lambda: upstream(engine, jpegs, anchors_on([middle] * IDS)),
        f"engine, {IDS} IDs from the middle": lambda: ours(engine, frames, anchors_on([middle] * IDS)),
    }
    if spread:
        runs[f"engine, {IDS} IDs from {IDS} frames"] = lambda: ours(engine, frames, anchors_on(apart))
    if engine.device.type == "cuda":
        for run in runs.values():
            run()  # kernels are chosen, and parts compiled, for every shape
    spent: dict[str, list[Spent]] = {name: [] for name in runs}
    encoded: dict[str, int] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            looks.count = 0
            spent[name].append(run())
            encoded[name] = looks.count

    def ratio(a: str, b: str) -> list[float]:
        pairs = list(zip(spent[a], spent[b], strict=True))
        return [round(statistics.median(x[clock] / y[clock] for x, y in pairs), 3) for clock in (0, 1)]

    several = f"{IDS} IDs from the middle"
    ratios = {
        "engine / upstream, 1 ID from the start": ("upstream, 1 ID from the start", "engine, 1 ID from the start"),
        "engine / upstream, 1 ID both ways": ("upstream, 1 ID from the middle", "engine, 1 ID from the middle"),
        f"engine / upstream, {IDS} IDs": (f"upstream, {several}", f"engine, {several}"),
        f"{IDS} IDs / 1 ID, engine": (f"engine, {several}", "engine, 1 ID from the middle"),
        f"{IDS} IDs / 1 ID, upstream": (f"upstream, {several}", "upstream, 1 ID from the middle"),
    }
    if spread:
        ratios[f"{IDS} IDs from {IDS} frames / 1 ID, engine"] = (
            f"engine, {IDS} IDs from {IDS} frames", "engine, 1 ID from the middle",
        )  # fmt: skip
    return {
        "seconds": {name: round(statistics.median(s[0] for s in each), 4) for name, each in spent.items()},
        "processor_seconds": {name: round(statistics.median(s[1] for s in each), 4) for name, each in spent.items()},
        "encoded": encoded,
        "frames": length,
        "speed and then processor time": {name: ratio(*pair) for name, pair in ratios.items()},
    }


def describe(figures: dict[str, Any]) -> None:
    for name, wall in figures["seconds"].items():
        print(
            f"{name:30} {wall:7.2f} s ({figures['processor_seconds'][name]:.2f} of a processor) "
            f"{figures['frames'] / wall:6.2f} frames/s, {figures['encoded'][name]} encoded"
        )
    for name, (wall, processor) in figures["speed and then processor time"].items():
        print(f"{name}: {wall:.2f} (processor {processor:.2f})")
    print(json.dumps(figures))


class Looks:
    """Counts frames that go through the image encoder."""

    def __init__(self, network: Any) -> None:
        self.count = 0
        network.image_encoder.register_forward_hook(self._one)

    def _one(self, _module: Any, images: tuple[torch.Tensor], _out: Any) -> None:
        self.count += len(images[0])


def clock(engine: Sam2Tracker) -> Spent:
    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)
    return time.perf_counter(), time.process_time()


def since(engine: Sam2Tracker, begin: Spent) -> Spent:
    wall, processor = clock(engine)
    return wall - begin[0], processor - begin[1]


def ours(engine: Sam2Tracker, frames: NDArray[np.uint8], anchors: list[Anchor]) -> Spent:
    begin = clock(engine)
    engine.propagate(frames, anchors)
    return since(engine, begin)


def upstream(engine: Sam2Tracker, jpegs: Path, anchors: list[Anchor]) -> Spent:
    """All anchors on one frame, as upstream starts all objects on one."""
    network = engine._loaded().network
    with torch.inference_mode(), engine._autocast():
        state = network.init_state(str(jpegs))
        state["cached_features"].clear()  # the first frame's: encoding it belongs to the time that is taken
        begin = clock(engine)
        for k, a in enumerate(anchors):
            box = np.array([a.box.x0, a.box.y0, a.box.x1, a.box.y1], np.float32)
            network.add_new_points_or_box(state, frame_idx=a.frame, obj_id=k, box=box)
        for _ in both_ways(network, state, anchors[0].frame):
            pass
        return since(engine, begin)


def memory(arguments: argparse.Namespace) -> None:
    """Each figure from a process of its own: a peak cannot be taken back."""
    short, long = max(arguments.frames, 12), 3 * max(arguments.frames, 12)

    def of(who: str, frames: int, anchors: list[int]) -> float:
        wanted = json.dumps({"who": who, "frames": frames, "anchors": anchors})
        command = [sys.executable, __file__, "memory", "--memory", wanted, "--checkpoint", arguments.checkpoint]
        for name in ("config", "image_size", "device"):
            command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
        # Large blocks straight from the system, so that the peak is what is in use and not what is kept for later.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": os.pathsep.join(sys.path)}
        told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        return float(json.loads(told.splitlines()[-1]))

    one = of("engine", short, [0])
    per_frame = (of("engine", long, [0]) - one) / (long - short)
    apart = (of("engine", long, [0, long - 1]) - of("engine", short, [0, short - 1])) / (long - short)
    per_id = (of("engine", short, [0] * IDS) - one) / (IDS - 1)
    theirs = (of("upstream", long, [0]) - of("upstream", short, [0])) / (long - short)
    print(f"peak memory per extra frame ({short} to {long}), engine: {per_frame:.2f} MB, the clip itself taken off")
    print(f"  with anchors on the first and last frame, between which features are kept: {apart:.2f} MB")
    print(f"  upstream: {theirs:.2f} MB")
    print(f"peak memory per extra ID (1 to {IDS}), engine: {per_id:.1f} MB")


def peak(arguments: argparse.Namespace) -> float:
    """MB above what was in use before the call, for the run that `--memory` describes."""
    wanted = json.loads(arguments.memory)
    engine = make(arguments)
    engine.check()
    frames = scene(wanted["frames"], HEIGHT, WIDTH)
    anchors = anchors_on(wanted["anchors"])
    if engine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of loading
    before = used(engine)
    if wanted["who"] == "engine":
        engine.propagate(frames, anchors)
    else:
        with tempfile.TemporaryDirectory() as folder:
            for t, frame in enumerate(frames):
                Image.fromarray(frame).save(Path(folder) / f"{t:05d}.jpg", quality=95)
            upstream(engine, Path(folder), anchors)
    return highest(engine) - before


def used(engine: Sam2Tracker) -> float:
    on_gpu = engine.device.type == "cuda"
    return (torch.cuda.memory_allocated() if on_gpu else psutil.Process().memory_info().rss) / 1e6


def highest(engine: Sam2Tracker) -> float:
    if engine.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
