"""Raw videos whose truth is known: `python -m tasks.world --out DIR --videos 24 --seed 0`. See docs/world.md."""

from tasks.world.bucket import render_bucket
from tasks.world.film import load_truth, render_scene

__all__ = ["load_truth", "render_bucket", "render_scene"]
