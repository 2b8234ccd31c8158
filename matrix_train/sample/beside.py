"""What `sample` leaves beside its videos, by name; known without importing what samples."""

from pathlib import Path

PROMPTS_FILE = "prompts.jsonl"
GRID_FILES = ("grid.mp4", "grid.png")
IDMAP = ".idmap.png"
FIRST = ".first.png"
"""Ending of a clip's first frame."""


def beside_videos(folder: Path) -> set[str]:
    """Names of the files that `sample` leaves beside its videos, also of those that it could not make."""
    records = {path.with_suffix(".json").name for path in folder.glob("*.mp4")}
    pictures = {path.name for ending in (FIRST, IDMAP) for path in folder.glob(f"*{ending}")}
    grid = GRID_FILES if all((folder / name).is_file() for name in GRID_FILES) else ()
    return {*records, *pictures, *grid, PROMPTS_FILE}
