"""How a build ends on the command line when the world around it fails: one line on what failed first."""

import errno
from contextlib import nullcontext

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from rich.console import Console

from flows.batches import GaveUpError
from flows.cli import console as run
from flows.settings import BuildSettings
from tasks.errors import InfrastructureError, UserError

SETTINGS = BuildSettings(source="raw", out=".")


class Ended:
    """The state of a flow run that raised."""

    def __init__(self, raising):
        self.raising = raising

    def result(self, raise_on_failure):
        try:
            return self.raising()
        except Exception as error:
            return error


def refused() -> httpx.HTTPStatusError:
    """What Prefect's client raises when its server cannot write: it says nothing of why."""
    request = httpx.Request("POST", "http://127.0.0.1:1/api/flow_runs/0/set_state")
    return httpx.HTTPStatusError("Server error '500'\nsee", request=request, response=httpx.Response(500))


@pytest.fixture(autouse=True)
def _a_server_is_there(monkeypatch):
    monkeypatch.setattr(SyncPrefectClient, "raise_for_api_version_mismatch", lambda self: None)
    client = SyncPrefectClient("http://127.0.0.1:1/api")
    monkeypatch.setattr(run, "get_client", lambda sync_client: nullcontext(client))


@pytest.fixture
def ends_with(monkeypatch):
    """The message of a run whose flow raises what is given."""

    def run_it(raising, ends_as=None) -> str:
        monkeypatch.setattr(run, "build", lambda _, return_state: Ended(raising))
        with pytest.raises(ends_as or InfrastructureError, match="nothing done is lost") as told:
            run.run_build(SETTINGS, Console(stderr=True))
        assert "\n" not in str(told.value)
        return str(told.value)

    return run_it


def lost_batches():
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise GaveUpError("3 batches") from error


def over(first):
    """Prefect's error on top of another, as when it cannot record that the flow failed."""
    try:
        first()
    except Exception:
        raise refused() from None


def full_disk():
    raise OSError(errno.ENOSPC, "No space left on device", "out/dataset/train-000000.tar")


def stopped():
    raise InfrastructureError("the server at host refused the key")


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (lost_batches, "No space left on device"),
        (full_disk, "No space left on device: out/dataset/train-000000.tar"),
        (stopped, "the server at host refused the key"),
    ],
)
def test_what_failed_first_is_told_with_and_without_prefects_error_on_top(ends_with, first, words):
    ends_as = InfrastructureError if first is stopped else UserError
    assert words in ends_with(first, ends_as)
    told = ends_with(lambda: over(first), ends_as)
    assert words in told and "500" not in told


def test_prefects_own_failure_is_told_as_such(ends_with):
    def fail():
        raise refused()

    assert "Prefect's server failed: Server error '500' see" in ends_with(fail)


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch):
    def bug():
        raise AssertionError("2 in, but 1 done")

    monkeypatch.setattr(run, "build", lambda _, return_state: Ended(bug))
    with pytest.raises(AssertionError):
        run.run_build(SETTINGS, Console(stderr=True))


def test_a_full_disk_under_prefects_own_server_is_told_as_such(ends_with, monkeypatch):
    """The server's database lies in the out folder, and all it says is 500."""
    monkeypatch.setattr(run, "LEAST_FREE", 1 << 60)

    def fail():
        raise refused()

    told = ends_with(fail, UserError)
    assert "No space left on device" in told and "500" not in told
