"""The key: sent to the server and nowhere else; nothing of this machine's other keys is sent at all."""

import logging

import pytest

from benchmarks.setting.prefect_server import prefect_server
from tasks.caption.stage import CaptionSettings, caption
from tasks.engines.base import BadReply
from tasks.engines.served.language import ServedLanguage
from tasks.errors import InfrastructureError, StopRun, UserError
from tests.tasks.caption.captioning import CAPTION, make_case
from tests.tasks.engines.served.asking import ask
from tests.tasks.engines.served.conftest import in_turn
from tests.tasks.engines.served.fault_server import Told, failed, good, said

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("MATRIX_TEST_KEY", KEY)


def everything_of(error: BaseException) -> str:
    """The error and all that hangs on it, as a careless logger would print it."""
    parts, seen = [], set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        parts += [repr(error), str(error), repr(vars(error)), str(getattr(error, "raw", ""))]
        request = getattr(error, "request", None)
        parts.append(repr(dict(request.headers)) if request is not None else "")
        error = error.__cause__ or error.__context__
    return "\n".join(parts)


def test_it_is_sent_as_a_bearer_token_and_is_on_no_record(serve, engine, home, caplog, capsys, tmp_path):
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    server = serve(in_turn(failed(429, f"key {KEY} is busy"), good))
    llm = engine(server, api_key_env="MATRIX_TEST_KEY")
    rows = list(caption([make_case(1, CAPTION)], llm, None, CaptionSettings()))
    assert {a.headers["authorization"] for a in server.asked} == {f"Bearer {KEY}"}
    assert rows[0].payload is not None
    told = [repr(llm), str(vars(llm)), repr(vars(llm.client)), llm.identity, llm.check(), rows[0].model_dump_json()]
    told += [llm.options.model_dump_json(), caplog.text, *capsys.readouterr()]
    assert len(caplog.records) > 10
    for text in told:
        assert KEY not in text
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files
    for file in files:
        assert KEY.encode() not in file.read_bytes()
        assert KEY not in str(file)


ECHOES = {
    "in an error": (failed(401, f"Incorrect API key provided: {KEY}"), StopRun),
    "in a long error": (failed(500, "x" * 290 + KEY), InfrastructureError),
    "as the error": (Told(KEY.encode(), 503), InfrastructureError),
    "as a page": (Told(KEY.encode()), InfrastructureError),
    "in a reply": (said(f"My key is {KEY}"), BadReply),
    "in a refusal": (said(None, refusal=KEY), BadReply),
}


@pytest.mark.parametrize(("told", "kind"), ECHOES.values(), ids=ECHOES)
def test_a_server_that_repeats_it_does_not_spread_it(told, kind, serve, engine):
    with pytest.raises(kind) as caught:
        ask(engine(serve(in_turn(told)), api_key_env="MATRIX_TEST_KEY", retries=0))
    assert KEY not in everything_of(caught.value)
    for start in range(len(KEY) - 8):  # not even cut in half
        assert KEY[start : start + 9] not in str(caught.value)


def test_a_kept_reply_holds_no_repeated_key(serve, engine, home):
    server = serve(lambda _: said(f'{{"nonce": "{KEY}", "count": 1}}'))
    ask(engine(server, api_key_env="MATRIX_TEST_KEY"))
    for path in home.fs.find(home.root):
        assert KEY.encode() not in home.fs.cat_file(path)


def test_it_changes_neither_identity_nor_cache(serve, engine):
    server = serve()
    with_key, without = engine(server, api_key_env="MATRIX_TEST_KEY"), engine(server)
    ask(with_key)
    ask(without)
    assert with_key.identity == without.identity and len(server.asked) == 1


def test_keys_and_headers_of_other_services_stay_here(serve, engine, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "other-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Other: other-secret\nAuthorization: Bearer other-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    server = serve()
    ask(engine(server))
    headers = server.asked[0].headers
    assert "other-secret" not in repr(headers)
    assert set(headers) == {
        "host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent",
    }  # fmt: skip


def test_no_proxy_of_the_environment_sees_requests(serve, engine, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert ask(engine(serve())).count == 2


def test_a_variable_that_is_not_set_is_told_when_the_engine_is_made(home):
    with pytest.raises(UserError, match="MATRIX_NO_SUCH_KEY is not set"):
        ServedLanguage(ServedLanguage.Options(api_key_env="MATRIX_NO_SUCH_KEY"), home)


@pytest.mark.parametrize("value", ["two words", "line\nbreak: x", "schlüssel", "bell\x07"])
def test_what_is_no_key_is_not_repeated(value, home, monkeypatch):
    monkeypatch.setenv("MATRIX_TEST_KEY", value)
    with pytest.raises(UserError, match="MATRIX_TEST_KEY holds is no key") as caught:
        ServedLanguage(ServedLanguage.Options(api_key_env="MATRIX_TEST_KEY"), home)
    assert value not in str(caught.value)


SAVE = f"""
from prefect.blocks.system import Secret
Secret(value={KEY!r}).save("matrix-test-key")
"""
ASK = """
import sys
from tasks.engines.served.language import ServedLanguage
from tasks.errors import UserError
from tasks.store.folder import Folder

options = ServedLanguage.Options(base_url=sys.argv[1], api_key_block=sys.argv[3])
llm = ServedLanguage(options, Folder(sys.argv[2]))
assert "prefect" not in sys.modules
try:
    print(llm.check())
except UserError as error:
    print("UserError", error)
llm.close()
"""


@pytest.mark.slow
def test_it_comes_out_of_a_prefect_secret_block_at_the_first_request(serve, tmp_path):
    import subprocess
    import sys

    server = serve()
    with prefect_server(tmp_path / "prefect") as env:

        def run(*command):
            done = subprocess.run(
                [sys.executable, "-c", *command], env=env, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        run(SAVE)
        said_ = run(ASK, server.url, str(tmp_path / "r"), "matrix-test-key")
        assert "tiny" in said_ and KEY not in said_
        assert {a.headers["authorization"] for a in server.asked} == {f"Bearer {KEY}"}
        missing = run(ASK, server.url, str(tmp_path / "r"), "no-such-block")
        assert "UserError there is no Prefect Secret block named 'no-such-block'" in missing
