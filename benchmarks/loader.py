"""The training loader against plain webdataset on the same shards: clips a second, and their ratio.

    python -m benchmarks.loader                 # 12 clips of 49 × 480 × 720, 5 rounds; last line: one JSON object

Plain: `webdataset.WebDataset` over the tars in order, PyAV to RGB, pycocotools for the masks of one interaction, both
stacked; nothing is checked. Ours adds the plan, every check, geometry, tokens, ID map and role weights. Both through
torch's DataLoader, one clip a batch, in this process and in two workers. The two take turns within each round.
"""

import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import sentencepiece
import torch
import typer
import webdataset as wds
from pycocotools import mask as coco
from torch.utils.data import DataLoader
from transformers import T5TokenizerFast

from matrix_train.attention.grid import Grid
from matrix_train.data import DataConfig, open_stream
from schemas import Captioned
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tests.builders import make_case, make_dataset

BAR = 0.90
FRAMES, HEIGHT, WIDTH = 49, 480, 720


def decode_plainly(sample: dict[str, Any]) -> dict[str, Any]:
    """What a short script would do with a webdataset sample."""
    record, tracks = json.loads(sample["json"]), json.loads(sample["tracks.json"])["tracks"]
    with av.open(io.BytesIO(sample["mp4"])) as container:
        video = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    act = record["interactions"][0]
    masks = [
        np.stack([np.zeros((HEIGHT, WIDTH), np.uint8) if m is None else coco.decode(m) for m in tracks[act[role]]])
        for role in ("subject", "object")
    ]
    return {
        "key": sample["__key__"],
        "caption": sample["txt"].decode(),
        "video": torch.from_numpy(video),
        "subject": torch.from_numpy(masks[0]),
        "object": torch.from_numpy(masks[1]),
    }


def plain(folder: Path, workers: int) -> Iterator[Any]:
    """Clips without end, read plainly."""
    urls = sorted(str(path) for path in folder.glob("train-*.tar"))
    shards = wds.WebDataset(urls, shardshuffle=False, nodesplitter=None).repeat().map(decode_plainly)
    return iter(DataLoader(shards, batch_size=None, num_workers=workers))


def measure(take: Callable[[], object], clips: int) -> tuple[float, float]:
    """Clips a second, and processor milliseconds a clip, over `clips` of them, after a warm-up.

    The warm-up is longer than what workers read ahead, so that a full queue is not counted as speed. Processor time is
    that of this process and all below it: the steadier figure on a machine that others use too.
    """
    for _ in range(6):
        take()
    start, spent = time.perf_counter(), processor_time()
    for _ in range(clips):
        take()
    return clips / (time.perf_counter() - start), (processor_time() - spent) / clips * 1e3


def processor_time() -> float:
    """Seconds, user and system, of this process and all below it."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def main(clips: int = 12, rounds: int = 5) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        store = Folder(str(root / "work"))
        cases = [
            make_case(store, seed=i, things=1 + i % 3, frames=FRAMES, height=HEIGHT, width=WIDTH) for i in range(clips)
        ]
        make_dataset(root, cases, ShardSettings(val_share=0, max_samples=4))
        captions = [case.of(Captioned).caption for case in cases]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(captions * 20), model_prefix=str(root / "spiece"), vocab_size=100, num_threads=1,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        tokenizer = T5TokenizerFast.from_pretrained(root)
        grid = Grid(13, HEIGHT // 16, WIDTH // 16, latent_frames=13, time_factor=4)
        figures: dict[str, Any] = {"clips": clips, "rounds": rounds, "bar": BAR}
        for workers in (0, 2):
            speeds: dict[str, list[float]] = {"ours": [], "plain": []}
            spent: dict[str, list[float]] = {"ours": [], "plain": []}
            config = DataConfig(dataset=str(root / "dataset"), workers=workers)
            for round_number in range(rounds):

                def run_ours(config: DataConfig = config) -> tuple[float, float]:
                    with open_stream(config, "train", tokenizer, grid) as stream:
                        return measure(stream.__next__, clips)

                def run_plain(workers: int = workers) -> tuple[float, float]:
                    # The last reference goes when the call ends, and the workers with it.
                    return measure(plain(root / "dataset", workers).__next__, clips)

                # Whoever comes second finds a warmer machine: take turns at that too.
                turns = [("ours", run_ours), ("plain", run_plain)]
                for who, run in turns if round_number % 2 else reversed(turns):
                    speed, processor = run()
                    speeds[who].append(speed)
                    spent[who].append(processor)
            ratios = [a / b for a, b in zip(speeds["ours"], speeds["plain"], strict=True)]
            row = {who: round(statistics.median(values), 2) for who, values in speeds.items()}
            effort = {who: round(statistics.median(values), 1) for who, values in spent.items()}
            figures[f"workers_{workers}"] = {
                **{f"{who}_clips_per_s": value for who, value in row.items()},
                **{f"{who}_processor_ms_per_clip": value for who, value in effort.items()},
                "ratio": round(statistics.median(ratios), 3),
                "ratios": [round(ratio, 3) for ratio in ratios],
            }
            print(
                f"workers {workers}: ours {row['ours']:.2f} clips/s, plain {row['plain']:.2f} clips/s, "
                f"ratio {statistics.median(ratios):.3f} (median of {rounds} rounds); "
                f"processor time a clip {effort['ours']} and {effort['plain']} ms"
            )
    figures["ratio"] = min(figures[f"workers_{w}"]["ratio"] for w in (0, 2))
    print(f"bar: ratio >= {BAR}: {'met' if figures['ratio'] >= BAR else 'MISSED'}")
    print(json.dumps(figures))


if __name__ == "__main__":
    typer.run(main)
