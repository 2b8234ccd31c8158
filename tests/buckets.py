"""A bucket for tests: moto's S3 server as a process of its own, and a proxy before it that does what networks do."""

import hashlib
import http.client
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import fsspec
import httpx
import pytest

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "2", "AWS_RETRY_MODE": "standard",
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def moto_server(folder: Path) -> Iterator[str]:
    """Its address. It is waited for until it answers; its log is in the error where it does not."""
    port, log = free_port(), folder / "moto.log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **ENVIRONMENT})
    try:
        until = time.monotonic() + 60
        while True:
            with suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/moto-api/").raise_for_status()
                break
            if server.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"moto's server does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@dataclass
class Fault:
    """What happens to requests of a method whose path holds `key`, `times` times after the first `after` of them."""

    kind: Literal["slow_down", "error_500", "cut", "reset", "silence", "expired", "denied", "short", "unheard", "other"]
    method: str = "GET"
    key: str = ""
    times: int = 1
    after: int = 0
    do: Any = None
    """What `other` calls before the request goes on: the world may change meanwhile."""


class Proxy:
    """Passes requests on to a server, and does to them what its `faults` say. `seen` are all, as `GET /bucket/key`,
    `signed` how, `answered` those that came through whole."""

    def __init__(self, target: str) -> None:
        self.target = target.removeprefix("http://")
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.signed: list[str] = []
        self.answered = Counter[str]()
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def count(self, method: str, key: str) -> int:
        return sum(line.startswith(method) and key in line for line in self.seen)

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.seen.append(f"{method} {path}")
            for fault in self.faults:
                if fault.method == method and fault.key in path and fault.times:
                    if fault.after:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):
            super().handle_one_request()

    def log_message(self, *_: Any) -> None:
        pass

    def _pass(self) -> None:
        self.proxy.signed.append(self.headers.get("Authorization", ""))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.fault_of(self.command, unquote(self.path))
        kind = fault.kind if fault else None
        if kind == "silence":
            time.sleep(4)
            self.close_connection = True
        elif kind == "reset":
            # With nothing to linger for, closing sends a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif kind in _ANSWERS:
            status, code = _ANSWERS[kind]
            self._answer(status, {}, b"<Error><Code>%b</Code><Message>%b</Message></Error>" % (code, code))
        else:
            if fault and fault.do:
                fault.do()
            self._forward(body, kind)
            self.proxy.answered[f"{self.command} {unquote(self.path)}"] += kind not in ("cut", "short")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815

    def _forward(self, body: bytes, kind: str | None) -> None:
        upstream = http.client.HTTPConnection(self.proxy.target, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers.items()))
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding", "date")}
        if self.command != "HEAD":
            headers["Content-Length"] = str(len(data))
        if kind == "short":  # whole by its own account, and less than there is
            data = data[: len(data) // 2]
            headers["Content-Length"] = str(len(data))
        if kind == "unheard":  # it is done, and nobody learns of it
            self.close_connection = True
            return
        self._answer(answer.status, headers, data[: len(data) // 2] if kind == "cut" else data)
        if kind == "cut":
            self.close_connection = True

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


_ANSWERS: dict[str | None, tuple[int, bytes]] = {
    "slow_down": (503, b"SlowDown"), "error_500": (500, b"InternalError"), "expired": (400, b"ExpiredToken"),
    "denied": (403, b"AccessDenied"),
}  # fmt: skip


@dataclass
class Bucket:
    """An empty bucket of its own behind a proxy. Whoever opens `url` goes through the proxy, `fs` does not."""

    url: str
    proxy: Proxy
    fs: Any

    def put(self, key: str, data: bytes) -> str:
        """Put an object there; its URL."""
        self.fs.pipe_file(f"{self.url}/{key}", data)
        return f"{self.url}/{key}"


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto_server(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def bucket(moto: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    proxy = Proxy(moto)
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": proxy.url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tasks.store.trying.FIRST_WAIT_S", 0.01)
    kind = fsspec.get_filesystem_class("s3")
    kind.clear_instance_cache()
    fs = kind(endpoint_url=moto, use_listings_cache=False)
    name = f"test-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}"
    fs.mkdir(name)
    yield Bucket(f"s3://{name}", proxy, fs)
    proxy.close()
    kind.clear_instance_cache()
