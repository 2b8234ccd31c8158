"""`matrix_data limits` and `matrix_data automations` against a real server."""

import pytest

from tests.flows.conftest import Ended


def test_limits_say_what_they_would_do_and_then_do_it_once(matrix_data):
    wanted = ("limits", "--set", "run.limits={select: 1, scan: 4}")
    refused: Ended = matrix_data(*wanted)
    assert refused.code == 2 and "no stage 'select' with batches" in refused.errors

    wanted = ("limits", "--set", "run.limits={ingest: 1, scan: 4}")
    first = matrix_data(*wanted)
    assert first.code == 0, first.errors
    assert first.out.splitlines() == [
        "matrix-ingest: 1 (new)",
        "matrix-scan: 4 (new)",
        "nothing was changed: add --apply",
    ]
    assert matrix_data(*wanted, "--apply", "--json").json["applied"] is True
    assert matrix_data(*wanted).out.splitlines() == ["matrix-ingest: 1", "matrix-scan: 4"]


def test_an_automation_is_made_changed_and_left(matrix_data):
    assert matrix_data("automations", "--json").json["state"] == "new"
    assert matrix_data("automations", "--apply", "--json").json["state"] == "new"
    assert matrix_data("automations", "--apply", "--json").json["state"] == "as it is"
    assert matrix_data("automations", "--unheard", "100", "--apply", "--json").json["state"] == "changed"
    assert matrix_data("automations", "--unheard", "100", "--json").json["state"] == "as it is"


@pytest.mark.parametrize("command", ["limits", "automations"])
def test_no_server_is_one_line(matrix_data, command):
    ended = matrix_data(command, *(["--set", "run.limits={scan: 1}"] if command == "limits" else []),
                        PREFECT_API_URL="http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES="0")  # fmt: skip
    assert ended.code == 2
    assert ended.errors.startswith("error: Prefect's server did not take it") and len(ended.errors.splitlines()) == 1


def test_no_limits_in_the_settings_is_a_mistake(matrix_data):
    ended = matrix_data("limits")
    assert ended.code == 2 and "sets no limits" in ended.errors
