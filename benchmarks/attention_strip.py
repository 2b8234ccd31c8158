"""A word's attention before and after training, on a held-out clip, as one picture.

    python -m benchmarks.attention_strip RUN --dataset DS --out docs/attention_strip.png [--before RUN0]

Left the clip's middle frame with the outline of whom the word means; then where the video attends to the word, before
(the base model of RUN, or another run) and after. The clip's own latents, noised as at the middle step, at the first
block that SGA trains; both maps by one scale, and the share of the word's attention inside of the outline over all
frames. Clips with a noun are asked in the data set's order: `--clip 0` is the first. Prints one JSON object.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray

from matrix_train.analyze.clips import Clip, Clips, read_noised
from matrix_train.analyze.reading import Kept
from matrix_train.analyze.subject import Subject
from matrix_train.cli.analyze import subject_of
from matrix_train.cli.commands import quieten_libraries
from matrix_train.errors import UserError
from matrix_train.export.trained import Trained

STEPS = 50


def read(run: Path, trained: bool, overrides: list[str], place: int, block: int | None) -> dict[str, Any]:
    """Frame, outline, map and share of one noun by one model."""
    config, weights = subject_of(run, None, overrides)
    block = config.align.sga_blocks[0] if block is None else block
    given: Trained | None = weights if trained else None
    subject = Subject.load(config, given, torch.device("cpu"))
    clips = Clips(config, "val", subject)
    batch = clips.batch(clips.keys[place % len(clips.keys)])
    if isinstance(batch, str):
        raise UserError(f"clip {place}: {batch}: give another --clip")
    clip = Clip.of(config, subject, batch)
    nouns = [r for r, role in enumerate(clip.roles) if role.role != "verb" and "v2t" in role.kinds and role.mask_cells]
    if not nouns:
        raise UserError(f"clip {place} has no noun with a mask: give another --clip")
    middle = subject.timesteps(STEPS)[STEPS // 2 : STEPS // 2 + 1]
    maps = read_noised(config, subject, clip, middle, Kept.of([block], [0])).maps[block, 0, "v2t"][0]
    # The smallest one: the whole picture would be found by any map.
    role = min(nouns, key=lambda r: clip.roles[r].mask_cells)
    own, cells = maps[role].numpy(), clip.aim.cells[0, role].cpu().numpy()
    frame = len(own) // 2
    act, part = batch.interactions[0][clip.roles[role].interaction], clip.roles[role].role
    number = batch.ids[0].index(act.subject if part == "subject" else act.object)
    pixel = frame * (batch.video.shape[1] - 1) // max(1, len(own) - 1)
    return {
        "clip": batch.keys[0], "word": clip.roles[role].words, "block": block,
        "share": float(own[cells].sum() / own.sum()), "covers": float(cells.mean()), "map": own[frame],
        "frame": batch.video[0, pixel].permute(1, 2, 0).numpy(), "mask": batch.masks[0, number, pixel].bool().numpy(),
        "said": f"{config.train.steps} steps" if trained else "base model",
    }  # fmt: skip


def draw(before: dict[str, Any], after: dict[str, Any], about: str, out: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.35), layout="constrained")
    most = max(float(side["map"].max()) for side in (before, after))
    titles = [
        f"“{before['word']}”, held-out clip; covers {before['covers']:.1%}",
        f"before ({before['said']}): {before['share']:.1%} of its attention inside",
        f"after SGA ({after['said']}): {after['share']:.1%} inside",
    ]
    for axis, side, title in zip(axes, (None, before, after), titles, strict=True):
        picture = before["frame"] if side is None else _over(side["frame"], side["map"] / most)
        axis.imshow(picture)
        axis.contour(before["mask"], [0.5], colors="white" if side is not None else "#ff922b", linewidths=1.6)
        axis.set_title(title, fontsize=10.5)
        axis.axis("off")
    figure.supxlabel(about, fontsize=8.5, color="#555")
    figure.savefig(out, dpi=100)
    plt.close(figure)


def _over(frame: NDArray[np.uint8], share: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The map's colours over a dark grey frame; the cells as they are, not smoothed."""
    height, width = frame.shape[:2]
    wide = cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    colours = mpl.colormaps["inferno"](wide)[..., :3] * 255
    grey = frame.mean(axis=2, keepdims=True) * 0.5
    return np.asarray(np.clip(0.3 * grey + 0.85 * colours, 0, 255), dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--clip", type=int, default=0)
    parser.add_argument("--block", type=int)
    parser.add_argument("--out", type=Path, default=Path("docs/attention_strip.png"))
    options = parser.parse_args()
    quieten_libraries()
    overrides = [f"data.dataset={options.dataset}"]
    after = read(options.run, True, overrides, options.clip, options.block)
    before_run = options.before or options.run
    before = read(before_run, options.before is not None, overrides, options.clip, after["block"])
    config, _ = subject_of(options.run, None, overrides)
    about = (
        f"tiny model of random start, trained on a rendered world; λ of SGA {config.align.sga:g}; block "
        f"{after['block']}, step {STEPS // 2} of {STEPS}; outline: the word's mask"
    )
    draw(before, after, about, options.out)
    told = {name: after[name] for name in ("clip", "word", "block", "covers")}
    print(json.dumps({**told, "before": before["share"], "after": after["share"], "out": str(options.out)}))


if __name__ == "__main__":
    main()
