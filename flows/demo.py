"""`matrix_data demo`: the whole way in one command, on videos whose truth is known."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.funnel import funnel
from flows.local import use_local_prefect
from flows.plan import plan_of
from flows.preflight import preflight
from flows.scoring import score_build
from flows.settings import load_settings
from flows.show import funnel_lines
from tasks.world import render_bucket

SEED = 11


def run_demo(folder: Path, videos: int, console: Console) -> tuple[dict[str, Any], list[str]]:
    """Render into `folder/world`, build into `folder/out`, score; returns the numbers and the text to print."""
    began = time.perf_counter()
    world, out = folder / "world", str(folder / "out")
    console.print(f"rendering {videos} raw videos and one of every broken kind into {world / 'raw'} …")
    raw = render_bucket(world, videos=videos, seed=SEED, level="plain", broken=True, workers=2) / "raw"
    rendered = time.perf_counter()
    console.print(f"building the dataset in {out} (the first start of Prefect's own server takes some seconds) …")
    captions = str(next(world.glob("captions.*")))
    settings = load_settings("local", [], source=str(raw), captions=captions, out=out)
    preflight(settings)
    use_local_prefect(out, verbose=False)
    from flows.run import run_build  # imports Prefect, which reads the environment set above

    result = run_build(settings, console)
    score = score_build(out, world)
    again = f"matrix_data build {raw} --captions {captions} --out {out}"
    seconds = {
        "render": round(rendered - began, 1),
        "build": result.seconds,
        "all": round(time.perf_counter() - began, 1),
    }
    found = {
        **result.model_dump(mode="json", by_alias=True),
        "score": score.model_dump(mode="json"),
        "demo_seconds": seconds,
    }
    text = [
        *funnel_lines(funnel(plan_of(out))),
        "",
        *score.lines(),
        "",
        f"shards   {result.dataset}",
        f"report   {result.report}",
        f"resume   {again}",
        f"rendered in {seconds['render']} s, built in {seconds['build']:.1f} s",
    ]
    return found, text
