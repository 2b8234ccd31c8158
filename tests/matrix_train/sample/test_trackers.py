"""Trackers: things followed through a video, by the embedded engine and by SAM2 of tiny random weights by a profile."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from typer.testing import CliRunner

from matrix_train.cli import app as cli
from matrix_train.errors import UserError
from matrix_train.sample.trackers import Trackers
from schemas.idmap import decode_id_map
from tests.tasks.engines.tiny_sam2 import save_tiny

Scene = tuple[NDArray[np.uint8], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A textured square goes right by three pixels a frame before another texture: video, and where it is."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (16, 24, 3), dtype=np.uint8).repeat(6, axis=0).repeat(6, axis=1)
    thing = rng.integers(140, 255, (6, 6, 3), dtype=np.uint8).repeat(5, axis=0).repeat(5, axis=1)
    video, truth = np.stack([ground] * 9), np.zeros((9, 96, 144), dtype=bool)
    for t in range(9):
        video[t, 30:60, 20 + 3 * t : 50 + 3 * t] = thing
        truth[t, 30:60, 20 + 3 * t : 50 + 3 * t] = True
    return video, truth


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile that names SAM2."""
    folder = tmp_path_factory.mktemp("sam2")
    options = save_tiny(folder / "weights", "transformers", 0)
    profile = folder / "own.yaml"
    profile.write_text(yaml.safe_dump({"engines": {"tracker": {"name": "sam2", "options": options}}}))
    return profile


def test_a_mask_goes_with_its_thing_and_leaves_the_rest(scene: Scene) -> None:
    video, truth = scene
    found = Trackers().follow(video, {"id2": truth[0], "id1": np.zeros_like(truth[0])})
    assert np.array_equal(found["id2"][0], truth[0])
    overlap = (found["id2"] & truth).sum(axis=(1, 2)) / (found["id2"] | truth).sum(axis=(1, 2))
    assert overlap.min() > 0.8
    assert not found["id1"].any(), "who is not in the first frame is nowhere"


def test_sam2_follows_by_a_profile(scene: Scene, sam2: Path) -> None:
    video, truth = scene
    trackers = Trackers(sam2)
    found = trackers.follow(video, {"id1": truth[0]})["id1"]
    assert found.shape == truth.shape
    assert np.array_equal(found[0], truth[0])
    assert trackers.identity.startswith("sam2/1 transformers")
    assert trackers.identity != Trackers().identity


def test_an_id_map_by_sam2(pictures: Path, sam2: Path, tmp_path: Path) -> None:
    words = ["idmap", pictures / "i.png", "--box", "id1=6,16,40,54", "--profile", sam2, "--out", tmp_path / "m.png"]
    result = CliRunner().invoke(cli.app, [*map(str, words), "--json"], catch_exceptions=False)
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["pixels"] == {"id1": int((decode_id_map((tmp_path / "m.png").read_bytes(), 64, 96) == 1).sum())}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"own\.yaml: cannot be read: No such file"),
        ("a: [", r"own\.yaml: not valid YAML"),
        ("[1]", r"own\.yaml: must be a mapping"),
        ("engines: 3", r"own\.yaml: its engines.tracker is no mapping"),
        ("engines: {tracker: {name: none}}", "no tracker engine is called 'none'; there is: embedded, sam2"),
        ("engines: {tracker: 3}", r"the tracker of --profile .*own\.yaml"),
        ("engines: {tracker: {name: sam2, options: {checkpoint: gone.pt}}}", r"gone\.pt"),
        ("engines: {tracker: {name: sam2, options: {checkpoint: ., implementation: transformers}}}", "sam2"),
    ],
)
def test_profiles_that_cannot_be_used(scene: Scene, tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as error:
        Trackers(tmp_path / "own.yaml").masks(scene[0][0], {"id1": (20, 30, 50, 60)}, {})
    assert "\n" not in str(error.value)
