"""Each part of a production set-up does what we need it for."""

import subprocess
import sys
import urllib.request

import httpx
import pytest

from benchmarks.setting.production import Missing, find

pytestmark = pytest.mark.production


def test_a_program_that_is_not_there_is_named_with_the_way_to_get_it():
    with pytest.raises(Missing, match="no nothing-of-the-kind on this machine: write it"):
        find("nothing-of-the-kind", "/usr/lib/*/bin", how="write it")


def test_the_api_runs_on_postgres_without_services(split, database):
    with httpx.Client(base_url=split["PREFECT_API_URL"]) as api:
        told = api.get("/admin/settings").raise_for_status().json()
        assert api.get("/ready").status_code == 200
    assert told["server"]["concurrency"]["lease_storage"] == "prefect_redis.lease_storage"
    assert told["server"]["database"]["connection_url"] != ""
    assert database.startswith("postgresql+asyncpg://")


def test_an_object_goes_through_the_bucket(bucket):
    put = urllib.request.Request(f"{bucket}/raw", method="PUT")
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 200


@pytest.mark.long
def test_ray_runs_tasks_on_both_nodes(cluster):
    asked = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
nodes = sorted(n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"])
@ray.remote(num_cpus=1)
def where():
    import time; time.sleep(1)
    return ray.util.get_node_ip_address()
print(len(nodes), len(set(ray.get([where.options(scheduling_strategy="SPREAD").remote() for _ in range(4)]))))
"""
    done = subprocess.run([sys.executable, "-c", asked, cluster], capture_output=True, text=True, timeout=250)
    assert done.stdout.split() == ["2", "2"], done.stdout + done.stderr
