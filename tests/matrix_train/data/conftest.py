"""A copy of the data set that may be damaged."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def damaged(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the dataset."""
    return Path(shutil.copytree(dataset, tmp_path / "dataset"))
