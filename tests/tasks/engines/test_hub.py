"""What would be downloaded, by the list of files of a hub on loopback that answers as the real one does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import HfApi

from tasks.engines.hub import files_of, missing
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
