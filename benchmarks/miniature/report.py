"""What came out: printed, as `F/report.json`, and as `F/report.html` with the same prompts by all arms side by side."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from benchmarks.effect.report import draw, table
from benchmarks.miniature.compared import PAPER, by_kind, differences, means, order, values_of
from benchmarks.miniature.judge import agreement, verdicts
from benchmarks.miniature.sample import ARMS, BASE, SHOWN, asked_table, videos_of
from benchmarks.miniature.sizes import Size
from matrix_train.evaluate.page import write_html
from matrix_train.evaluate.run import read_truth
from matrix_train.sample.grid import read_mp4, write_grid

PICTURE = "differences.png"


def report(folder: Path, size: Size, seeds: Sequence[int]) -> None:
    """Made anew each time: nothing in it takes long. A seed whose videos lie elsewhere has no sheets."""
    values = values_of(folder, seeds)
    apart, own, judge = differences(values), means(values), agreement(folder)
    orders = {name: order(values, name) for name in ("IF", "right")}
    asked = asked_table(folder)
    kinds = [about["kind"] for about in asked.values()]
    told = f"{len(seeds)} seeds × {len(asked)} prompts"
    print(f"{told}; beside each mean its difference to LoRA alone, with the 95 % interval\n")
    print(table(own, apart))
    print(f"\nthe paper's order of IF: {' < '.join(PAPER)}")
    for name, (arms, tau) in orders.items():
        print(f"ours by {name}: {' < '.join(arms)}; Kendall's τ {tau:+.2f}")
    print(
        f"the judge on what should be seen: of {judge['videos']} {judge['right']} right, {judge['turned']} turned, "
        f"{len(judge['undecided'])} undecided, IF {judge['if']:.3f}"
    )
    title = f"Difference to LoRA alone, {told}: a dot a seed, mean and 95 % interval"
    draw(apart, ("right", "IF", "SGI"), title, folder / PICTURE)
    found = {
        "size": asdict(size),
        "seeds": list(seeds),
        "prompts": len(asked),
        "means": own,
        "differences": {arm: {name: asdict(one) for name, one in each.items()} for arm, each in apart.items()},
        "undecided": {arm: int(np.isnan(one["IF"]).sum()) for arm, one in values.items()},
        "kinds": {arm: by_kind(one["right"], kinds) for arm, one in values.items()},
        "orders": {name: {"arms": arms, "tau": tau} for name, (arms, tau) in orders.items()},
        "judge": judge,
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    here = [seed for seed in seeds if videos_of(folder, seed, BASE).exists()]
    sheets = [_sheet(folder, size, seed, name) for seed in here for name in list(asked)[:SHOWN]]
    write_html(
        folder, "report", Path(__file__).parent, found=found, measures=list(own[ARMS[0]]), arms=ARMS, paper=PAPER,
        picture=PICTURE, sheets=sheets,
    )  # fmt: skip
    print(json.dumps(found))


def _sheet(folder: Path, size: Size, seed: int, name: str) -> dict[str, Any]:
    """One prompt by all arms: the picture and the video side by side, and of each arm the verdict and its own video.
    Links are from `folder`."""
    videos = {arm: videos_of(folder, seed, arm) / f"{name}.mp4" for arm in ARMS}
    shown = {"true": folder / "asked" / "videos" / f"{name}.mp4"} | videos
    file = folder / "sheets" / f"seed{seed}" / f"{name}.mp4"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_grid([(name, {label: read_mp4(path) for label, path in shown.items()})], file, size.film.fps)
    words = {arm: verdicts(folder, seed, arm)[name].word for arm in ARMS}
    links = [(arm, words.get(arm), quote(path.relative_to(folder).as_posix())) for arm, path in shown.items()]
    return {
        "seed": seed, "name": name, "kind": asked_table(folder)[name]["kind"],
        "caption": read_truth(folder / "asked" / "truth" / f"{name}.mp4.json").caption,
        "side_by_side": quote(file.relative_to(folder).as_posix()), "videos": links,
        "picture": quote(file.with_suffix(".png").relative_to(folder).as_posix()),
    }  # fmt: skip
