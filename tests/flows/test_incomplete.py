"""A run that the world fails in part: what waits, what is told, how it ends, and that the next one goes on."""

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows.build import build
from flows.chunk import Chunk
from flows.opened import context_of
from flows.server.events import key_of
from flows.settings import load_settings
from tasks.errors import InfrastructureError

pytestmark = pytest.mark.slow

NAMES = ("a.mp4", "b.mp4", "c.mp4")


@pytest.fixture
def settings(server, tmp_path):
    """A bucket of three files that hold no video, on record with one content each."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in NAMES:
        (raw / name).write_text(f"content of {name}")
    run = ["run.retries=0", "run.max_attempts=2", "run.give_up_after=9", "select.allow_uncaptioned=true"]
    with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"], PREFECT_LOGGING_TO_API_ENABLED: False}):
        yield load_settings("local", run, source=str(raw), out=str(tmp_path / "out"))


@pytest.fixture
def failing(monkeypatch):
    """Names of files whose batch meets a server that is down, at scan."""
    names = set()
    process = Chunk.process

    def refuse(self, stage, keys):
        for row in process(self, stage, keys):
            if stage == "scan" and self.listing[row.key].name in names:
                raise InfrastructureError("the bucket answers 503")
            yield row

    monkeypatch.setattr(Chunk, "process", refuse)
    return names


def ran(settings):
    state = build(settings, return_state=True)
    return state, state.result(raise_on_failure=False)


def test_a_barrier_waits_the_run_is_not_green_and_the_next_one_decides(settings, failing, server):
    failing.add("b.mp4")
    state, result = ran(settings)
    assert (state.type, state.name) == (StateType.FAILED, "Incomplete")
    assert "503" in state.message and "3 pending" in state.message
    assert result.funnel["scan"].accepted == 2 and result.pending == 3  # two wait for select
    assert any(line.startswith("scan: 1 left pending by: ") and "503" in line for line in result.told)
    assert any(line.startswith("select: left out") for line in result.told)
    assert len(context_of(settings.out).store("select")) == 0, "a barrier decides for good, so it must see all"
    with httpx.Client(base_url=server["PREFECT_API_URL"], timeout=30) as api:
        found = api.post(
            "/artifacts/filter", json={"artifacts": {"key": {"any_": [f"lost-{key_of(settings.out)}"]}}}
        ).json()
        runs = api.post("/flow_runs/filter", json={"flow_runs": {"state": {"name": {"any_": ["Incomplete"]}}}}).json()
    assert any("503" in artifact["description"] for artifact in found) and runs

    failing.clear()
    state, result = ran(settings)
    assert state.is_completed() and result.pending == 0 and result.told == ()
    assert len(context_of(settings.out).store("select").accepted()) == 3


def test_a_file_that_fails_run_after_run_holds_nothing_in_the_end(settings, failing):
    """The bucket does not grow: from the second run on the odd file is the only one that is pending."""
    failing.add("b.mp4")
    state, _ = ran(settings)
    assert state.name == "Incomplete"
    state, result = ran(settings)
    assert result.funnel["scan"].rejected == {"poison": 1}
    assert state.is_completed() and result.funnel["select"].accepted == 2


def test_calls_to_the_server_that_fail_end_no_run(settings, monkeypatch):
    def refused(*_, **__):
        raise httpx.ConnectError("nobody there")

    asked = set()
    for name in ("create_table_artifact", "create_progress_artifact", "create_markdown_artifact"):
        monkeypatch.setattr(f"flows.progress.{name}", lambda *_, name=name, **__: asked.add(name) or refused())
        monkeypatch.setattr("flows.progress.QUIET_S", 0.0)  # each is tried
    state, result = ran(settings)
    assert state.is_completed() and result.pending == 0
    assert len(asked) == 3


def test_lines_of_the_log_that_the_server_refuses_end_no_run(settings, monkeypatch):
    request, refused = PrefectClient.request, []

    async def answer(client, method, path, **given):
        if path != "/logs/":
            return await request(client, method, path, **given)
        refused.append(given["content"])
        asked = httpx.Request(method, "http://server/logs/")
        raise httpx.HTTPStatusError("the log service is down", request=asked, response=httpx.Response(500))

    monkeypatch.setattr(PrefectClient, "request", answer)
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}):
        state, result = ran(settings)
        APILogHandler().flush()
    assert state.is_completed() and result.pending == 0
    assert any(b"3 of 3 accepted" in lines for lines in refused)


def test_a_bug_in_a_stage_is_no_failure_of_the_world(settings, monkeypatch):
    def bug(self, stage, keys):
        raise AttributeError("a bug of ours")

    monkeypatch.setattr(Chunk, "process", bug)
    state, result = ran(settings)
    assert state.is_failed() and state.name == "Failed" and isinstance(result, AttributeError)
