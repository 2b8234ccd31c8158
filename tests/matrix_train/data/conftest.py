"""One small dataset for all tests of this folder, and copies of it that may be damaged."""

import itertools
import shutil
from pathlib import Path

import pytest

from tasks.case import Case
from tasks.files import Folder
from tasks.shard import ShardSettings, split_of
from tests.builders import make_case, make_dataset
from tests.matrix_train.data.shards import FRAMES, HEIGHT, WIDTH


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine clips to train on and three held out, with one to three interactions each, in shards of three."""
    root = tmp_path_factory.mktemp("shards")
    store = Folder(str(root / "work"))
    settings = ShardSettings(max_samples=3, val_share=0.25)
    chosen: dict[str, list[Case]] = {"train": [], "val": []}
    for seed in itertools.count():
        # x264 gives these clips other bytes, and so other keys, in every session: take what falls where it is wanted.
        things = 1 + len(chosen["train"]) % 3
        case = make_case(store, seed=seed, things=things, frames=FRAMES, height=HEIGHT, width=WIDTH)
        split = split_of(case.clip.clip_id, settings.val_share)
        if len(chosen[split]) < {"train": 9, "val": 3}[split]:
            chosen[split].append(case)
        if sum(map(len, chosen.values())) == 12:
            break
    make_dataset(root, [*chosen["train"], *chosen["val"]], settings)
    return root / "dataset"


@pytest.fixture
def damaged(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the dataset."""
    return Path(shutil.copytree(dataset, tmp_path / "dataset"))
