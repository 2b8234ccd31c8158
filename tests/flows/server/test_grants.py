"""Credentials out of a Prefect block: loaded from the server, used, and found nowhere."""

import subprocess
import sys

from tests.buckets import ENVIRONMENT, bucket, moto

__all__ = ["bucket", "moto"]

SECRET = "hunter2hunter2"

LOADED = """
import json, sys
from prefect.blocks.system import Secret
from flows.server.grants import grant_credentials
from flows.settings import load_settings
from tasks.errors import UserError
from tasks.scan.stage import hash_files, list_files
from tasks.store.fingerprint import fingerprint
source, endpoint, secret = sys.argv[1:]
Secret(value={"key": "granted", "secret": secret, "endpoint_url": endpoint}).save("raw-videos", overwrite=True)
Secret(value="no options").save("useless", overwrite=True)
def settings(block):
    return load_settings("local", [f"scan.credentials_block={block}"], source=source, out="out")
for block in ("secret/nothing", "secret/useless", "teapot/x"):
    try:
        grant_credentials(settings(block))
    except UserError as error:
        print(error)
used = settings("secret/raw-videos")
grant_credentials(used)
print([row.reason for row in hash_files(list(list_files(source, used.scan)), used.scan)])
print(used.model_dump_json())
print(fingerprint("scan", 1, used.scan, [], "") == fingerprint("scan", 1, settings("secret/other").scan, [], ""))
"""


def test_a_block_opens_the_bucket_and_nothing_of_it_is_on_record(server, bucket, tmp_path):
    bucket.put("raw/a.mp4", b"x")
    env = {k: v for k, v in server.items() if not k.startswith("AWS_")} | {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_DEFAULT_REGION": ENVIRONMENT["AWS_DEFAULT_REGION"],
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-c", LOADED, f"{bucket.url}/raw", bucket.proxy.url, SECRET]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    missing, useless, teapot, rows, dumped, same = done.stdout.splitlines()
    assert "no block secret/nothing" in missing and "JSON object" in useless and "teapot" in teapot
    assert rows == "[None]" and same == "True"
    assert "secret/raw-videos" in dumped and SECRET not in done.stdout + done.stderr
    assert "Credential=granted/" in bucket.proxy.signed[-1]
