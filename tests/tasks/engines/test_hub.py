"""What would be downloaded, by the list of files of a hub on loopback that answers as the real one does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from httpx2 import ConnectError
from huggingface_hub import HfApi

from benchmarks.setting.processes import free_port
from flows.cli.forecast import downloads
from flows.settings import load_settings
from schemas.hub import AGAIN, out_of_reach
from tasks.engines.hub import fetch, files_of, missing, where
from tasks.errors import InfrastructureError, UserError

FILES = {
    "config.json": 700, "tokenizer.json": 11_000_000, "model-00001-of-00002.safetensors": 3_000_000_000,
    "model-00002-of-00002.safetensors": 1_000_000_000, "chat_template.jinja": 4_000, "pytorch_model.bin": 4_000_000_000,
    "README.md": 20_000, "onnx/model.onnx": 4_000_000_000, "onnx/config.json": 700, "vocab.txt": 200_000,
}  # fmt: skip


@pytest.fixture
def hub():
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path.startswith("/api/models/org/model/revision/main") and "blobs=" in self.path
            files = [{"rfilename": name, "size": size} for name, size in FILES.items()]
            told = {"id": "org/model", "sha": "0" * 40, "siblings": files} if known else {"error": "not found"}
            body = json.dumps(told).encode()
            self.send_response(200 if known else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield HfApi(endpoint=f"http://127.0.0.1:{server.server_address[1]}", token=False)
        server.shutdown()


def test_what_engines_load_is_counted_and_nothing_else(hub):
    files = files_of("org/model", None, hub)
    assert set(files) == {
        "config.json", "tokenizer.json", "chat_template.jinja", "vocab.txt",
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    }  # fmt: skip
    assert sum(files.values()) == 4_011_204_700
    assert missing("org/no-such-model-here", None, files) == files


def test_a_model_that_the_hub_does_not_give_is_a_mistake_in_the_profile(hub):
    with pytest.raises(UserError, match="org/other: the hub does not give it"):
        files_of("org/other", None, hub)


def test_a_hub_that_cannot_be_reached_is_told_apart(hub):
    with pytest.raises(InfrastructureError, match="org/model: the hub cannot be reached"):
        files_of("org/model", None, HfApi(endpoint="http://127.0.0.1:9", token=False))


def test_a_hub_out_of_reach_is_asked_once_and_again_after_a_minute(monkeypatch):
    asked, now = [], [0.0]

    class Session:
        def head(self, endpoint, timeout):
            asked.append(endpoint)
            raise ConnectError("nobody is there")

    monkeypatch.setattr("schemas.hub.get_session", Session)
    monkeypatch.setattr("schemas.hub.time.monotonic", lambda: now[0])
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://none.invalid")
    for now[0], times in ((100.0, 1), (100.0 + AGAIN - 1, 1), (100.0 + AGAIN, 2)):
        assert out_of_reach()
        assert len(asked) == times, now


def test_without_a_hub_the_cache_is_what_there_is_and_nobody_waits(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = {"name": "sam2", "options": {"implementation": "transformers", "checkpoint": "facebook/sam2.1-hiera-tiny"}}
    settings = load_settings("local", [f"engines.tracker={json.dumps(model)}"], source="none", out="none")
    with pytest.raises(InfrastructureError, match=r"no facebook/sam2\.1-hiera-tiny \(about 0\.2 GB"):
        downloads(settings)
    other = {"name": "sam2", "options": {"implementation": "transformers", "checkpoint": "nobody/knows-this"}}
    with pytest.raises(InfrastructureError, match=r"no nobody/knows-this \((of unknown size|about 0\.0 GB)"):
        downloads(load_settings("local", [f"engines.tracker={json.dumps(other)}"], source="none", out="none"))
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits to ask again"))
    with pytest.raises(UserError, match="cannot be downloaded"):
        fetch("facebook/sam2.1-hiera-tiny", None)
    cached = tmp_path / "hub" / "models--facebook--sam2.1-hiera-tiny"
    for name, text in (("refs/main", "c0ffee"), ("snapshots/c0ffee/config.json", "{}")):
        (cached / name).parent.mkdir(parents=True)
        (cached / name).write_text(text)
    assert downloads(settings) == "the hub cannot be reached; its cache here has every model's configuration"
    assert where("facebook/sam2.1-hiera-tiny", None) == {"revision": "main", "local_files_only": True}
    assert where(str(tmp_path), "mine") == {"revision": "mine", "local_files_only": False}
