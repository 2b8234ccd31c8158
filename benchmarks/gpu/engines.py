"""The two engines of the pipeline that want a GPU, by the benchmarks that also measure them on a CPU."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.parts import Figures, Size
from schemas.settings import validate


def detector(size: Size) -> Iterator[Figures]:
    """GroundingDINO Swin-B with BERT-base, against bare batched forwards of groundingdino-py's network."""
    from benchmarks.detector import measure
    from tasks.engines.grounding_dino.architecture import KNOWN
    from tests.tasks.engines.tiny_dino import SIZES, TEXT

    if size == "full":
        yield measure(KNOWN["SwinB"], {}, frames=16, rounds=1, shorter=800, longer=1333, batch=8)
    else:
        yield measure(SIZES, TEXT, frames=2, rounds=1, shorter=64, longer=128, batch=2)


def tracker(size: Size) -> Iterator[Figures]:
    """SAM2.1 with 1 and 5 IDs, against the package's own `propagate_in_video`."""
    os.environ["TQDM_DISABLE"] = "1"
    from benchmarks.tracker import make_random, parse, speed
    from tasks.engines.sam2.engine import Sam2Tracker
    from tasks.engines.sam2.options import Sam2Options
    from tasks.store.folder import Folder
    from tests.tasks.engines.tiny_sam2 import save_tiny

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if size == "full":
            arguments = parse(["speed", "--full"])
            arguments.checkpoint = str(folder / "random.pt")
            engine = make_random(arguments)
        else:
            engine = Sam2Tracker(validate(Sam2Options, save_tiny(folder, "sam2", 0)), Folder("/nowhere"))
        yield {"network": engine.check()}
        yield speed(engine, length=49 if size == "full" else 5, rounds=1, folder=folder, spread=False)
