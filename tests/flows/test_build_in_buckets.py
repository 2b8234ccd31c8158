"""A whole build from a bucket into a bucket, by the command line, over a connection that fails now and then."""

import pytest

from tasks.world import render_bucket
from tests.buckets import ENVIRONMENT, Fault, bucket, moto
from tests.flows.building import QUICK, sidecar

__all__ = ["bucket", "moto"]

FAULTS = [
    ("slow_down", "GET", ""), ("reset", "GET", "/raw/"), ("cut", "GET", "/raw/"), ("error_500", "PUT", "/out/"),
    ("reset", "PUT", "/out/"), ("slow_down", "HEAD", ""),
]  # fmt: skip


@pytest.mark.production
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_bad_connection_costs_no_clip_and_no_object_is_fetched_twice(matrix_data, bucket, tmp_path):
    world, spool = tmp_path / "world", tmp_path / "spool"
    render_bucket(world, videos=2, seed=4, level="plain", broken=False)
    for path in (world / "raw").iterdir():
        bucket.put(f"raw/{path.name}", path.read_bytes())
    captions = bucket.put("captions.csv", sidecar(world).read_bytes())
    env = ENVIRONMENT | {"AWS_ENDPOINT_URL": bucket.proxy.url}
    out = f"{bucket.url}/out"
    bucket.proxy.faults = [Fault(*fault, after=number * 7) for number in range(4) for fault in FAULTS]
    more = ("--set", f"scan.spool_folder={spool}", *QUICK)
    ended = matrix_data("build", f"{bucket.url}/raw", "--captions", captions, "--out", out, *more, **env)
    assert ended.code == 0, ended.errors
    assert f"report   {out}/report.html" in ended.out and f"dataset  {out}/dataset/" in ended.out
    assert sum(not fault.times for fault in bucket.proxy.faults) > 10
    for path in (world / "raw").iterdir():
        assert bucket.proxy.answered[f"GET {bucket.url.removeprefix('s3:/')}/raw/{path.name}"] == 1
    assert {path.name for path in spool.iterdir()} == {".lock", ".taken"}
    assert matrix_data("verify", out, **env).code == 0
