"""A dataset of drawn clips, which the exports' tests read and none changes."""

from pathlib import Path

import pytest

from tasks.exports.opening import Dataset, Item, open_dataset
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tests.builders import make_case, make_dataset


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips with two to four IDs, overlaps, an empty frame, in two splits."""
    root = tmp_path_factory.mktemp("exports")
    store = Folder(str(root / "work"))
    cases = [
        make_case(
            store, seed, things=1 + seed % 3, frames=5, height=64, width=96, note=f"Näher, „{seed}“ ☂",
            license=(None, "CC-BY-4.0")[seed % 2],
        )
        for seed in range(6)
    ]  # fmt: skip
    make_dataset(root, cases, ShardSettings(max_samples=2, val_share=0.4))
    return root


@pytest.fixture(scope="session")
def data(root: Path) -> Dataset:
    return open_dataset(Folder(str(root / "dataset")))


@pytest.fixture(scope="session")
def items(data: Dataset) -> dict[str, Item]:
    """All samples whole, by key."""
    rows = list(enumerate(data.chosen(lambda row: True, None), 1))
    return {item.row.key: item for item in data.items(rows, ("mp4", "txt", "json", "tracks.json", "idmap.png"))}
