"""SAM3's tracker in our engine against the bare class: `python -m benchmarks.sam3 [--full]`.

Both run the same random weights over the same frames, forth and back, by turns in one run: the engine from frames to
run lengths, and `Sam3TrackerVideoModel.propagate_in_video_iterator` over frames that were loaded before, with masks
brought to the host. Ratios are medians over rounds of wall and of processor time, for one ID and for five.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import Sam2ImageProcessor, Sam2VideoProcessor, Sam2VideoVideoProcessor, Sam3TrackerVideoConfig
from transformers import Sam3TrackerVideoModel as Bare

from schemas import Anchor
from tasks.engines.sam2.engine import Sam2Tracker
from tasks.engines.sam2.options import Sam2Options
from tasks.store.folder import Folder
from tests.tasks.engines.sam2.scenes import anchor, scene

BAR, BAR_OF_FIVE = 0.9, 2.5
HEIGHT, WIDTH = 240, 360
REDUCED = {
    "model_type": "sam3_vision_model",
    "backbone_config": {
        "model_type": "sam3_vit_model", "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
        "num_attention_heads": 8, "image_size": 448, "pretrain_image_size": 336, "window_size": 16,
        "global_attn_indexes": [5, 11],
    },
}  # fmt: skip


def bare(model: Any, frames: Any, anchors: list[Anchor]) -> None:
    side = model.config.image_size
    size = {"height": side, "width": side}
    videos = Sam2VideoVideoProcessor(size=size)
    processor = Sam2VideoProcessor(Sam2ImageProcessor(size=size), videos, target_size=side)
    session = processor.init_video_session(video=list(frames), inference_device=model.device)
    ids = list(range(len(anchors)))
    given = [[[a.box.x0, a.box.y0, a.box.x1, a.box.y1] for a in anchors]]
    at = anchors[0].frame
    processor.add_inputs_to_inference_session(session, frame_idx=at, obj_ids=ids, input_boxes=given)
    with torch.inference_mode():
        model(session, frame_idx=at)
        for back in (False, True):
            for found in model.propagate_in_video_iterator(session, start_frame_idx=at, reverse=back):
                (found.pred_masks > 0).cpu()


def clock(run: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all of SAM3's sizes; wants a GPU")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    config = Sam3TrackerVideoConfig() if given.full else Sam3TrackerVideoConfig(vision_config=REDUCED, image_size=448)
    frames = scene(given.frames, HEIGHT, WIDTH)
    at = given.frames // 2
    anchors = [anchor(k + 1, at, (20 + 60 * k, 30, 65 + 60 * k, 150)) for k in range(5)]
    with tempfile.TemporaryDirectory() as folder:
        Bare(config).save_pretrained(folder)
        options = Sam2Options(implementation="transformers", checkpoint=folder, device=given.device, precision="fp32")
        engine = Sam2Tracker(options, Folder(folder))
        print(engine.check())
        model = engine._loaded().network
        runs = {
            "engine": lambda: engine.propagate(frames, anchors[:1]),
            "bare": lambda: bare(model, frames, anchors[:1]),
            "five": lambda: engine.propagate(frames, anchors),
        }
        times: dict[str, list[tuple[float, float]]] = {who: [] for who in runs}
        for round_ in range(given.rounds):
            for who in runs if round_ % 2 else reversed(runs):
                times[who].append(clock(runs[who]))

    def ratio(over: str, under: str, which: int) -> float:
        pairs = zip(times[over], times[under], strict=True)
        return round(statistics.median(a[which] / b[which] for a, b in pairs), 3)

    figures = {
        "device": given.device, "frames": given.frames, "image_size": config.image_size,
        "ratio": ratio("bare", "engine", 0), "processor_ratio": ratio("bare", "engine", 1), "bar": BAR,
        "five_ids": ratio("five", "engine", 0), "five_ids_processor": ratio("five", "engine", 1),
        "bar_of_five": BAR_OF_FIVE,
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
