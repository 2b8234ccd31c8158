"""Batches on a Ray cluster of two nodes: the same bytes as in one process."""

import pytest

from tests.production.pooling import ended

pytestmark = [pytest.mark.production, pytest.mark.long]


@pytest.mark.timeout(900)
def test_a_build_on_ray_gives_the_same_bytes(split, cluster, on_disk, calm):
    on_ray = ended(
        split | {"RAY_ADDRESS": cluster, "RAY_USAGE_STATS_ENABLED": "0"},
        *on_disk.build("ray", "--set", "run.task_runner=ray", "--set", "run.gpus={track: 0}"),
    )
    assert on_ray.returncode == 0, on_ray.stderr
    assert on_disk.dataset("ray") == calm
