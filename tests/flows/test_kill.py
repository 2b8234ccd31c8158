"""kill -9 of the whole process group, resumed: a few here; `python -m benchmarks.kill` does forty, broken files too."""

import shutil

import pytest

from benchmarks.kill import kill_and_compare
from tests.flows.building import sidecar


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_and_resumed_builds_end_in_the_same_bytes(tmp_path, world, server):
    sound = tmp_path / "sound"
    (sound / "raw").mkdir(parents=True)
    for path in (world / "raw").glob("clip_*"):
        shutil.copy(path, sound / "raw")
    shutil.copy(sidecar(world), sound)
    found = kill_and_compare(tmp_path, sound, kills=3, seed=5, env=server)
    assert found["kills"] == 3
    assert found["identical"]
    assert found["files"] >= 3
