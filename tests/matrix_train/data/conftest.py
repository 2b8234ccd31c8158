"""One small dataset for all tests of this folder, and copies of it that may be damaged."""

import shutil
from pathlib import Path

import pytest

from tasks.files import Folder
from tests.builders import make_case, make_dataset
from tests.matrix_train.data.shards import FRAMES, HEIGHT, WIDTH


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips with one to three interactions each, in shards of three; about a quarter of them held out."""
    root = tmp_path_factory.mktemp("shards")
    store = Folder(str(root / "work"))
    size = {"frames": FRAMES, "height": HEIGHT, "width": WIDTH}
    make_dataset(root, [make_case(store, seed=i, things=1 + i % 3, **size) for i in range(12)])
    return root / "dataset"


@pytest.fixture
def damaged(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the dataset."""
    return Path(shutil.copytree(dataset, tmp_path / "dataset"))
