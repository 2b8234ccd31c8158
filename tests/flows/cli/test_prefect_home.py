"""Prefect's own server starts beside any out folder, and writes nowhere else."""

import os
import subprocess
import sys

CODE = """
import sys
from flows.cli.prefect_home import use_local_prefect
use_local_prefect(sys.argv[1], False)
from prefect import flow
flow(lambda: print("ran"), name="any")()
"""


def test_an_out_folder_may_be_named_like_a_url(tmp_path):
    out = tmp_path / "a%20b?x#y*[z]::w $HOME ~"
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")} | {"HOME": str(tmp_path / "nobody")}
    done = subprocess.run([sys.executable, "-c", CODE, str(out)], env=env, capture_output=True, text=True, timeout=200)
    assert done.stdout == "ran\n", done.stderr
    assert (out / "work" / "prefect" / "prefect.db").is_file()
    assert os.listdir(tmp_path) == [out.name]
