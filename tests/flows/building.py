"""What the tests of builds share."""

from pathlib import Path


def dataset_files(out: Path) -> dict[str, bytes]:
    """Every file of the datasets below `out`, by name."""
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted((out / "dataset").rglob("*")) if p.is_file()}


QUICK = (
    "--set",
    "ingest.height=240",
    "--set",
    "ingest.width=352",
    "--set",
    "ingest.frames=17",
    "--set",
    "ingest.fps=4",
)
"""Small short clips: what these tests look at does not depend on the size, and the tracker is ten times as fast."""


def sidecar(world: Path) -> Path:
    """The caption table of a rendered folder."""
    return next(world.glob("captions.*"))
