"""Limits of stages on a real server: put there once, asked for only by whom they name, and no slot is left behind."""

import contextvars
import threading
import time

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.server import limits
from tasks.errors import InfrastructureError, UserError


@pytest.fixture(scope="module")
def client(server):
    with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        yield client


def active(client, stage):
    return client.read_global_concurrency_limit_by_name(limits.limit_name(stage)).active_slots


def test_limits_are_put_once_and_changed_where_they_differ(client):
    wanted = {"track": 2, "caption": 5}
    assert [limit.there for limit in limits.compare(client, wanted)] == [None, None]
    with pytest.raises(UserError, match="no active limit matrix-track"):
        limits.require(client, wanted)
    limits.put(client, wanted)
    limits.put(client, wanted)
    limits.require(client, wanted)
    assert [limit.line() for limit in limits.compare(client, {"track": 3, "caption": 5})] == [
        "matrix-track: 3 (was 2)",
        "matrix-caption: 5",
    ]


def test_a_second_batch_waits_for_the_slot(client):
    limits.put(client, {"verify": 1})
    order, inside = [], threading.Event()

    def second():
        inside.wait()
        with limits.slot("verify", {"verify": 1}):
            order.append("second")

    # As Prefect's task runner starts its threads: in the caller's context, which says where the server is.
    waiting = threading.Thread(target=contextvars.copy_context().run, args=(second,))
    waiting.start()
    with limits.slot("verify", {"verify": 1}):
        inside.set()
        assert active(client, "verify") == 1
        time.sleep(1)
        order.append("first")
    waiting.join(60)
    assert order == ["first", "second"]
    assert active(client, "verify") == 0


def test_a_batch_that_fails_gives_its_slot_back_and_its_error_on(client):
    limits.put(client, {"propose": 1})
    with pytest.raises(ZeroDivisionError):
        with limits.slot("propose", {"propose": 1}):
            raise ZeroDivisionError
    assert active(client, "propose") == 0


def test_a_limit_that_the_server_lacks_is_the_users_to_mend(client):
    with pytest.raises(UserError, match="no active limit matrix-curate"):
        with limits.slot("curate", {"curate": 1}):
            raise AssertionError("nothing runs without the slot")


def test_a_stage_without_a_limit_asks_no_server(server):
    nowhere = {PREFECT_API_URL: "http://127.0.0.1:9/api"}
    with temporary_settings(nowhere):
        with limits.slot("scan", {"track": 1}):
            pass


def test_a_server_that_is_not_there_is_the_worlds_fault(server):
    nowhere = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(nowhere):
        with pytest.raises(InfrastructureError, match="no slot of matrix-ingest"):
            with limits.slot("ingest", {"ingest": 1}):
                raise AssertionError("nothing runs without the slot")
