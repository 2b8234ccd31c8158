"""Which model is served, who the engine is, and options that are refused before anything is asked."""

import pytest

from schemas.settings import validate
from tasks.engines.base import BadReply
from tasks.engines.registry import EngineSpec, load_engine
from tasks.engines.served.captioner import ServedCaptioner
from tasks.engines.served.language import ServedLanguage
from tasks.engines.served.options import LanguageOptions, VerifierOptions
from tasks.engines.served.verifier import ServedVerifier
from tasks.errors import StopRun, UserError
from tests.tasks.engines.served.asking import ask
from tests.tasks.engines.served.conftest import in_turn
from tests.tasks.engines.served.fault_server import Told, failed, said

VLLM = {
    "id": "Qwen/Qwen3-8B", "object": "model", "created": 1762000000, "owned_by": "vllm", "root": "Qwen/Qwen3-8B",
    "parent": None, "max_model_len": 32768, "permission": [{"id": "modelperm-1", "created": 1762000000}],
}  # fmt: skip


def test_the_identity_names_the_model_as_the_server_does_and_asks_once(serve, engine):
    server = serve(models=[VLLM])
    llm = engine(server)
    assert llm.identity.startswith("served-language/2 Qwen/Qwen3-8B ")
    assert llm.identity == llm.identity
    ask(llm)
    assert server.listed == 1 and len(server.asked) == 1
    server.models = [VLLM | {"created": 1763000000, "permission": []}]  # the server was started anew
    assert engine(server).identity == llm.identity


def test_root_and_revision_are_in_it_and_paths_are_not(serve, engine):
    base = engine(serve(models=[VLLM])).identity
    other = engine(serve(models=[VLLM | {"id": "llm", "root": "/data/models/secret-place/qwen3"}])).identity
    assert "llm root qwen3" in other and "secret-place" not in other
    as_path = engine(serve(models=[VLLM | {"id": "/data/models/qwen3", "root": "/data/models/qwen3"}])).identity
    assert "served-language/2 qwen3 " in as_path and "/data" not in as_path
    revised = engine(serve(models=[VLLM | {"revision": "abc123"}])).identity
    assert "Qwen/Qwen3-8B @abc123" in revised
    assert len({base, other, as_path, revised}) == 4


def test_what_is_found_is_the_model_by_the_servers_own_words_whatever_is_asked_of_it(serve, engine):
    server = serve(models=[VLLM | {"root": "/data/models/secret-place/qwen3", "revision": "abc"}])
    assert engine(server).resolved == "Qwen/Qwen3-8B root qwen3 @abc"
    named = engine(server, model="Qwen/Qwen3-8B", temperature=0.5, revision="mine")
    assert named.resolved == engine(server).resolved
    assert server.listed == 3 and not server.asked


def test_a_run_in_a_process_that_lives_on_sees_what_is_served_now(serve, engine):
    server = serve(models=[VLLM])
    llm = engine(server)
    llm.check()
    before = llm.resolved
    server.models = [VLLM | {"id": "org/other", "root": "org/other"}]
    assert llm.resolved == before and server.listed == 1
    llm.check()
    assert llm.resolved == "org/other" != before


def test_a_name_of_ones_own_for_the_model_is_in_the_identity_and_no_reply_of_the_old_one_is_taken(serve, engine):
    """The model behind a name was replaced on purpose: `revision` says so, and the cache must not answer for it."""
    server = serve()
    ask(engine(server))
    renamed = engine(server, revision="since-tuesday")
    ask(renamed)
    assert len(server.asked) == 2 and renamed.identity != engine(server).identity


def test_each_engine_has_an_identity_of_its_own_with_its_prompt_in_it(serve, engine, monkeypatch):
    server = serve()
    made = [engine(server, kind).identity for kind in (ServedLanguage, ServedVerifier, ServedCaptioner)]
    assert len(set(made)) == 3
    monkeypatch.setattr("tasks.engines.verifying.load_prompt", lambda *_: "other instructions")
    assert engine(server, ServedVerifier).identity != made[1]
    for options in ({"mark_box": False}, {"crop_side": 100}, {"frame_side": 100}, {"jpeg_quality": 50}):
        assert engine(server, ServedVerifier, **options).identity != made[1]


TWO = [VLLM, VLLM | {"id": "org/other", "root": "org/other"}]


def test_the_model_named_must_be_served_and_one_must_be_named_where_there_are_more(serve, engine):
    assert "org/other" in engine(serve(models=TWO), model="org/other").identity
    with pytest.raises(UserError, match=r"serves Qwen/Qwen3-8B, org/other: set the engine's option `model`"):
        engine(serve(models=TWO)).identity  # noqa: B018
    with pytest.raises(UserError, match=r"does not serve 'Qwen/Qwen2-7B' but Qwen/Qwen3-8B, org/other"):
        engine(serve(models=TWO), model="Qwen/Qwen2-7B").identity  # noqa: B018
    with pytest.raises(UserError, match="serves no model at all"):
        engine(serve(models=Told(b'{"data": []}'))).identity  # noqa: B018


def test_without_a_first_look_a_wrong_model_stops_the_run_at_the_first_question(serve, engine):
    server = serve(models=TWO)
    with pytest.raises(StopRun, match="does not serve"):
        ask(engine(server, model="another"))
    assert not server.asked


LISTS = {
    "refused": (failed(401, "bad key"), "HTTP 401: bad key .*api_key_env"),
    "not found": (failed(404, "Not Found"), "HTTP 404.*base_url"),
    "loading": (failed(503, "loading"), "HTTP 503: loading; start the server"),
    "a page": (Told(b"<html>"), "not an answer of the API: <html>"),
    "of another kind": (Told(b'{"data": {"id": 5}}'), "not an answer of the API"),
    "a name of another kind": (Told(b'{"data": [{"id": 5}]}'), "not an answer of the API"),
    "endless": (Told(b'{"data": [', endless=True), "cut off"),
    "dropped": (Told(drop="middle", body=b'{"data": []}'), "no connection"),
}


@pytest.mark.parametrize(("told", "words"), LISTS.values(), ids=LISTS)
def test_a_list_of_models_that_cannot_be_read_is_one_line_that_says_what_to_do(told, words, serve, engine):
    server = serve(models=told)
    with pytest.raises(UserError, match=words) as caught:
        engine(server).identity  # noqa: B018
    assert server.url in str(caught.value) and "docs/engines/language.md" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_says_how_to_start_one(engine):
    with pytest.raises(UserError, match=r"127.0.0.1:9/v1: no connection .*`vllm serve MODEL`"):
        engine("http://127.0.0.1:9/v1").identity  # noqa: B018


def test_it_is_asked_again_after_it_could_not_be_reached(serve, engine):
    server = serve(models=failed(503, "loading"))
    llm = engine(server)
    with pytest.raises(UserError):
        llm.identity  # noqa: B018
    server.models = [VLLM]
    assert "Qwen3-8B" in llm.identity


WRONG = {
    "password": ({"base_url": "https://user:hunter2@host/v1"}, "api_key_env"),
    "user": ({"base_url": "https://hunter2@host/v1"}, "api_key_env"),
    "query": ({"base_url": "https://host/v1?key=hunter2"}, "must end with the path"),
    "no scheme": ({"base_url": "localhost:8000/v1"}, "http://127.0.0.1:8000/v1"),
    "file": ({"base_url": "file:///etc/passwd"}, "http://127.0.0.1:8000/v1"),
    "two keys": ({"api_key_env": "A", "api_key_block": "b"}, "give one of them"),
    "a key in the body": ({"extra_body": {"api_key": "hunter2"}}, "api_key looks like a secret"),
    "a token in the body": ({"extra_body": {"deep": {"hf_token": "hunter2"}}}, "hf_token looks like a secret"),
    "a header in the body": ({"extra_body": {"Authorization": "hunter2"}}, "looks like a secret"),
    "ours": ({"extra_body": {"temperature": 1}}, "temperature is set by us"),
    "a stream": ({"extra_body": {"stream": True}}, "stream is set by us"),
    "unknown": ({"api_key": "hunter2"}, "api_key: unknown setting"),
    "tries": ({"retries": -1}, "retries"),
    "structured": ({"structured": "xml"}, "structured"),
}


@pytest.mark.parametrize(("options", "words"), WRONG.values(), ids=WRONG)
def test_options_that_are_refused_and_never_repeat_a_secret(options, words, home):
    spec = EngineSpec(name="openai", options=options)
    with pytest.raises(UserError, match=r"engines\.language\.options") as caught:
        load_engine("language", spec, home)
    assert words in str(caught.value) and "hunter2" not in str(caught.value)


def test_an_unknown_prompt_folder_is_told_when_the_engine_is_made(home):
    with pytest.raises(UserError, match=r"no verifier.md in the prompt folder 'v9'"):
        load_engine("verifier", EngineSpec(name="openai", options={"prompts": "v9"}), home)


def test_making_an_engine_contacts_nobody(home):
    for kind in ("language", "verifier", "captioner"):
        load_engine(kind, EngineSpec(name="openai", options={"base_url": "http://127.0.0.1:9/v1"}), home)


def test_every_option_is_described():
    for model in (LanguageOptions, VerifierOptions, ServedCaptioner.Options):
        assert [n for n, f in model.model_fields.items() if not f.description] == []
    assert validate(LanguageOptions, {}) == LanguageOptions()


@pytest.mark.parametrize("kind", [ServedLanguage, ServedVerifier, ServedCaptioner])
def test_check_asks_one_real_question_past_the_cache(kind, serve, engine):
    server = serve(models=[VLLM])
    one = engine(server, kind)
    for n in (1, 2):
        line = one.check()
        assert line.startswith(f"Qwen/Qwen3-8B at {server.url}, context 32768, answered in ")
        assert line.endswith("100 + 20 tokens") and len(server.asked) == n
    images = [p for p in server.asked[0].parts if p["type"] == "image_url"]
    assert len(images) == (0 if kind is ServedLanguage else 2)


def test_check_tells_of_a_model_that_answers_badly_and_fails_where_it_does_not_answer(serve, engine):
    assert "unusable: the reply holds no JSON object" in engine(serve(in_turn(said("blah")))).check()
    with pytest.raises(UserError, match=r"does not answer: .*HTTP 400: no grammar"):
        engine(serve(in_turn(failed(400, "no grammar backend")))).check()
    with pytest.raises(UserError, match=r"does not answer: .*HTTP 500"):
        engine(serve(in_turn(failed(500))), retries=1).check()


def test_check_closes_a_breaker_that_an_earlier_run_left_open(serve, engine):
    server = serve(in_turn(failed(500), said('{"nonce": "0123456789abcdef", "count": 1}')))
    llm = engine(server, retries=0, breaker_after=1)
    with pytest.raises(StopRun):
        ask(llm)
    assert "answered" in llm.check()
    with pytest.raises(BadReply):
        ask(engine(serve(in_turn(said("")))))
