"""Batches on a Ray cluster of two nodes: the same bytes as in one process, shares of GPUs, engines loaded once."""

import json
import subprocess
import sys
from collections import defaultdict

import pytest

from tests.production.pooling import ROOT, ended

pytestmark = [pytest.mark.production, pytest.mark.long]


@pytest.mark.timeout(900)
def test_a_build_on_ray_gives_the_same_bytes_and_a_stage_its_share_of_a_gpu(split, cluster, on_disk, calm):
    env = split | {"RAY_ADDRESS": cluster, "RAY_USAGE_STATS_ENABLED": "0"}
    on_ray = ended(env, *on_disk.build("ray", "--set", "run.task_runner=ray", "--set", "run.gpus={track: 0.5}"))
    assert on_ray.returncode == 0, on_ray.stderr
    assert on_disk.dataset("ray") == calm
    told = json.loads(ended(env, "status", f"{on_disk.room}/ray", "--json").stdout)["machines"]
    on_a_gpu = {line["stage"]: " gpu 0" in line["machine"] for line in told}
    assert on_a_gpu["track"] and not on_a_gpu["propose"] and not on_a_gpu["curate"]


ASKED = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False)

@ray.remote(num_cpus=1)
def load(home):
    import os
    from tasks.engines.registry import EngineSpec, load_engine
    from tasks.store.folder import Folder
    time.sleep(0.2)
    return os.getpid(), id(load_engine("language", EngineSpec(name="embedded"), Folder(home)))

for process, engine in ray.get([load.remote(sys.argv[2]) for _ in range(12)]):
    print(process, engine)
"""


@pytest.mark.timeout(300)
def test_a_worker_process_loads_an_engine_once_for_all_its_batches(cluster, tmp_path):
    command = [sys.executable, "-c", ASKED, cluster, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    engines = defaultdict(list)
    for process, engine in map(str.split, done.stdout.splitlines()):
        engines[process].append(engine)
    assert max(map(len, engines.values())) > 1
    assert all(len(set(loaded)) == 1 for loaded in engines.values())
