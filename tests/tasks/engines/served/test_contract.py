"""What must hold with any OpenAI-compatible server, whatever its model answers.

Runs against the scripted server, against `transformers serve` on CPU with a tiny random model, and against the server
in MATRIX_TEST_LLM_URL, such as a real vLLM:

    MATRIX_TEST_LLM_URL=http://127.0.0.1:8000/v1 python -m pytest -m slow tests/tasks/engines/served/test_contract.py

MATRIX_TEST_LLM_MODEL names the model where the server has several, MATRIX_TEST_LLM_STRUCTURED=json_schema says that it
keeps to schemas. Random models answer noise, so here noise is as good as an answer, as long as it is told apart.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from schemas import Box, Instance, Reason, Status
from tasks.caption.stage import CaptionSettings, caption
from tasks.engines.base import BadReply, VerifyRequest
from tasks.engines.metering import metered
from tasks.engines.served.captioner import ServedCaptioner
from tasks.engines.served.verifier import ServedVerifier
from tasks.errors import InfrastructureError, UserError
from tests.tasks.caption.captioning import CAPTION, make_case
from tests.tasks.engines.served.asking import ask
from tests.tasks.engines.served.fault_server import FaultServer

TINY = "test/tiny-vlm"


@dataclass(frozen=True)
class Target:
    """A server, and what is known of it."""

    url: str
    options: dict
    keeps_schema: bool = False
    """Replies have the form of the schema (their content may still be noise)."""
    capable: bool = False
    """Answers are right."""


@pytest.fixture(scope="module", params=[
    "scripted",
    pytest.param("transformers serve", marks=pytest.mark.slow),
    pytest.param("MATRIX_TEST_LLM_URL", marks=pytest.mark.slow),
])  # fmt: skip
def target(request, tmp_path_factory):
    if request.param == "scripted":
        with FaultServer() as server:
            yield Target(server.url, {}, keeps_schema=True, capable=True)
    elif request.param == "transformers serve":
        with transformers_serve(tmp_path_factory.mktemp("served")) as url:
            yield Target(url, {"model": TINY, "max_tokens": 24, "structured": "none"})
    else:
        url = os.environ.get("MATRIX_TEST_LLM_URL")
        if not url:
            pytest.skip("set MATRIX_TEST_LLM_URL to the address of a server, such as http://127.0.0.1:8000/v1")
        keeps = os.environ.get("MATRIX_TEST_LLM_STRUCTURED") == "json_schema"
        options = {"model": os.environ.get("MATRIX_TEST_LLM_MODEL"), "max_tokens": 400, "timeout_s": 120}
        yield Target(url, options | ({} if keeps else {"structured": "none"}), keeps_schema=keeps)


@contextmanager
def transformers_serve(folder: Path) -> Iterator[str]:
    """The server in a process of its own, over a hub cache that holds the tiny model."""
    make = "import sys; from pathlib import Path; from tests.tasks.engines.served.tiny_vlm import save_in_hub_cache;"
    make += f"save_in_hub_cache(Path(sys.argv[1]), {TINY!r})"
    env = {**os.environ, "HF_HUB_CACHE": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", make, str(folder)], env=env, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until_it_answers(process, f"http://127.0.0.1:{port}/v1", folder / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


def wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"{url}/models", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
        if process.poll() is not None:
            break
    raise AssertionError(log.read_text()[-3000:])


def test_the_identity_is_read_from_the_server_and_stays(target, engine):
    llm = engine(target.url, **target.options)
    assert llm.identity == engine(target.url, **target.options).identity
    assert llm.identity.startswith("served-language/2 ")


def test_a_model_that_is_not_served_is_told_with_those_that_are(target, engine):
    served = engine(target.url, **target.options)
    assert served.identity
    with pytest.raises(UserError, match=r"does not serve 'org/none-such' but") as caught:
        engine(target.url, model="org/none-such").identity  # noqa: B018
    assert served.client.served.id in str(caught.value)


def test_a_question_ends_in_a_checked_reply_or_a_bad_one_and_its_tokens_are_counted(target, engine):
    llm = engine(target.url, **target.options)
    with metered() as meter:
        try:
            reply = ask(llm)
        except BadReply:
            reply = None
    assert meter.usage.requests == 1 and meter.usage.prompt_tokens > 0 and meter.usage.completion_tokens > 0
    assert reply is not None or not target.capable
    if reply is not None:
        with metered() as again:
            assert ask(llm) == reply
        assert again.usage.cached_requests == 1
        assert again.usage.cached_tokens == meter.usage.prompt_tokens + meter.usage.completion_tokens


def test_a_server_that_keeps_to_schemas_gives_replies_of_the_right_form(target, engine):
    if not target.keeps_schema:
        pytest.skip("this server is not said to keep to schemas")
    llm = engine(target.url, **target.options)
    forms = []
    for n in range(4):
        try:
            forms.append(ask(llm, str(n)).count is None or True)
        except BadReply as bad:
            forms.append("cut off" in str(bad))
    assert all(forms)


def test_a_reply_at_the_token_limit_is_told(target, engine):
    if target.capable:
        pytest.skip("the scripted server has no limit")
    llm = engine(target.url, **{**target.options, "max_tokens": 3})
    with pytest.raises(BadReply, match=r"max_tokens|JSON|empty"):
        ask(llm, "limit")


def test_a_batch_of_clips_is_all_accounted_for(target, engine):
    llm = engine(target.url, **target.options)
    cases = [make_case(n, CAPTION) for n in range(1, 7)]
    rows = list(caption(cases, llm, None, CaptionSettings(max_asks=2)))
    assert [row.key for row in rows] == [case.clip.clip_id for case in cases]
    for row in rows:
        assert row.usage.requests >= 1 and row.usage.prompt_tokens > 0
        if target.capable:
            assert row.status is Status.ACCEPTED
        elif row.status is Status.REJECTED:
            assert row.reason in (Reason.BAD_REPLY, Reason.NO_INTERACTION, Reason.FILTERED), row.detail
        else:
            assert row.status is Status.ACCEPTED, row.detail


def test_images_are_taken_and_a_verdict_is_about_a_candidate_or_a_bad_reply(target, engine):
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 255, (120, 160, 3), np.uint8)
    who = Instance(id="id2", cls="man", noun="man in red", app="He wears red.", spatial="Left.")
    request = VerifyRequest(frame, frame[20:90, 30:80], Box(x0=30, y0=20, x1=80, y1=90), "man", (who,))
    verifier = engine(target.url, ServedVerifier, **target.options, max_asks=2)
    with metered() as meter:
        try:
            verdict = asyncio.run(verifier.verify(request))
            assert verdict.assigned_id in ("id2", None)
        except BadReply:
            assert not target.capable
    assert meter.usage.requests in (1, 2) and meter.usage.prompt_tokens > 0
    captioner = engine(target.url, ServedCaptioner, **target.options, max_asks=1)
    try:
        assert asyncio.run(captioner.describe(np.stack([frame] * 3))).strip()
    except BadReply:
        assert not target.capable


def test_a_time_out_holds_whatever_the_server_is_doing(target, engine):
    if target.capable:
        pytest.skip("the scripted server answers at once")
    options = {**target.options, "timeout_s": 0.01, "retries": 1, "max_tokens": 300}
    llm = engine(target.url, **options)
    llm.identity  # noqa: B018
    began = time.perf_counter()
    with pytest.raises(InfrastructureError, match=r"0\.01 s|timed out"):
        ask(llm, "late")
    assert time.perf_counter() - began < 5


def test_check_tells_one_line(target, engine):
    for kind in (None, ServedVerifier, ServedCaptioner):
        line = engine(target.url, **({"kind": kind} if kind else {}), **target.options).check()
        assert line.isprintable() and target.url in line and "answered in" in line
