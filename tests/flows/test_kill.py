"""kill -9 of the whole process group, resumed: a few here, forty in `python -m benchmarks.kill`."""

import pytest

from benchmarks.kill import kill_and_compare


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_and_resumed_builds_end_in_the_same_bytes(tmp_path, world, server):
    found = kill_and_compare(tmp_path, world, kills=4, seed=5, env=server)
    assert found["kills"] == 4
    assert found["identical"]
    assert found["files"] >= 3
