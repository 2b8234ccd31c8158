"""Two builds at one out folder, on disk and in a bucket: one goes on, one is refused; a frozen one has lost it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.production.pooling import ROOT, command, ended

pytestmark = [pytest.mark.production, pytest.mark.long, pytest.mark.timeout(900)]


def begin(env, arguments):
    return subprocess.Popen(
        arguments, env={**os.environ, **env}, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(("where", "undisturbed"), [("on_disk", "calm"), ("in_bucket", "calm_in_bucket")])
def test_of_two_builds_at_once_one_goes_on_and_one_is_refused(where, undisturbed, request):
    place, calm = request.getfixturevalue(where), request.getfixturevalue(undisturbed)
    env = place.env
    both = [begin(env, command(*place.build("shared"))) for _ in range(2)]
    told = {build.returncode: errors for build in both for _, errors in [build.communicate(timeout=600)]}
    assert sorted(told) == [0, 2], told
    assert "another build is at work in" in told[2]
    assert place.dataset("shared") == calm
    assert ended(env, "verify", f"{place.room}/shared").returncode == 0


QUICK_HEART = """
import sys
from tasks.store import lease
lease.BEAT_S, lease.SILENT_S = 0.5, 4.0
sys.argv = ["matrix_data", *sys.argv[1:]]
from flows.cli import main
main()
"""


def test_a_build_that_was_frozen_has_lost_its_chunk_and_writes_nothing_more(in_bucket, calm_in_bucket):
    env = in_bucket.env
    build = [sys.executable, "-c", QUICK_HEART, *in_bucket.build("frozen")]
    frozen = begin(env, build)
    try:
        deadline = time.monotonic() + 300
        while not in_bucket.files("frozen", "work/track/"):
            assert frozen.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        frozen.send_signal(signal.SIGSTOP)
        other = begin(env, build)
        _, errors = other.communicate(timeout=600)
        assert other.returncode == 0, errors
        assert in_bucket.dataset("frozen") == calm_in_bucket
        before = in_bucket.files("frozen")
        frozen.send_signal(signal.SIGCONT)
        _, errors = frozen.communicate(timeout=120)
        assert frozen.returncode and "another process has taken this over" in errors, errors
        after = in_bucket.files("frozen")
        assert {name for name in after if after[name] != before.get(name)} == set()
        assert before.keys() == after.keys()
    finally:
        frozen.kill()
    assert ended(env, "verify", f"{in_bucket.room}/frozen").returncode == 0
    assert not [name for name in after if "/leases/" in name]
