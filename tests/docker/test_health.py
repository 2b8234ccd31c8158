"""The health checks, asked about servers that are well, are not, and are none."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import redis

from tests.docker.compose import FOLDER


def healthy(what: str, **environment: str) -> bool:
    command = [sys.executable, FOLDER / "health.py", what]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True).returncode == 0


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_server_is_asked():
    server = HTTPServer(("127.0.0.1", 0), Answer)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert healthy(f"{address}/well")
        assert not healthy(f"{address}/ill")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not healthy(f"{address}/well")


@pytest.fixture
def messages(tmp_path):
    """A Redis of its own, by a socket: no port is taken."""
    tool = shutil.which("redis-server")
    if tool is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    path = tmp_path / "redis.sock"
    process = subprocess.Popen(
        [tool, "--port", "0", "--unixsocket", str(path), "--save", ""], stdout=subprocess.DEVNULL, cwd=tmp_path
    )
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    yield f"unix://{path}"
    process.terminate()
    process.wait(30)


@pytest.mark.parametrize(
    ("name", "age_s", "well"), [("{host}#7", 5, True), ("{host}#7", 600, False), ("{host}2#7", 5, False)]
)
def test_the_services_are_known_by_their_beats(messages, name, age_s, well):
    with redis.Redis.from_url(messages) as client:
        client.zadd("prefect:workers", {name.format(host=socket.gethostname()): time.time() - age_s})
    assert healthy("docket", PREFECT_SERVER_DOCKET_URL=messages) is well
