"""A whole build from a bucket into a bucket, by the command line, over a connection that fails now and then."""

import pytest

from tests.buckets import ENVIRONMENT, Fault, bucket, moto
from tests.flows.building import QUICK

__all__ = ["bucket", "moto"]

pytestmark = pytest.mark.production


def test_a_bad_connection_costs_no_clip_and_no_object_is_fetched_twice(matrix_data, bucket, world, tmp_path):
    videos = [path for path in (world / "raw").iterdir() if path.suffix == ".mp4"]
    for path in (world / "raw").iterdir():
        bucket.put(f"raw/{path.name}", path.read_bytes())
    (captions,) = world.glob("captions.*")
    bucket.put(captions.name, captions.read_bytes())
    env = ENVIRONMENT | {"AWS_ENDPOINT_URL": bucket.proxy.url, "TMPDIR": str(tmp_path)}
    bucket.proxy.faults = [
        Fault(kind, method, key, times=1, after=number * 7)
        for number in range(6)
        for kind, method, key in (
            ("slow_down", "GET", ""), ("reset", "GET", "/raw/"), ("cut", "GET", "/raw/"), ("error_500", "PUT", "/out/"),
            ("reset", "PUT", "/out/"), ("slow_down", "HEAD", ""),
        )
    ]  # fmt: skip
    out = f"{bucket.url}/out"
    ended = matrix_data(
        "build", f"{bucket.url}/raw", "--captions", f"{bucket.url}/{captions.name}", "--out", out, *QUICK, **env
    )
    assert ended.code == 0, ended.errors
    assert f"report   {out}/report.html" in ended.out and f"dataset  {out}/dataset/" in ended.out
    for path in videos:
        whole = bucket.proxy.answered[f"GET {bucket.url.removeprefix('s3:/')}/raw/{path.name}"]
        assert whole <= 1, f"{path.name} was fetched {whole} times"
    assert matrix_data("verify", out, **env).code == 0
    again = matrix_data(
        "build", f"{bucket.url}/raw", "--captions", f"{bucket.url}/{captions.name}", "--out", out, *QUICK, **env
    )
    assert again.code == 0
    left = [p.name for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock" and "matrix-11k" in str(p)]
    assert len(left) <= len(videos), "what select rejected stays until it is old"
