"""A real HTTP server on loopback whose every answer a test decides, down to when the connection breaks.

with FaultServer(answer) as server:      # answer(asked) -> Told, may be a coroutine function
    engine = ServedLanguage(LanguageOptions(base_url=server.url), home)

`/v1/models` is answered from `server.models` unless the script wants the path. All that was asked is in `server.asked`.
"""

import asyncio
import inspect
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tasks.engines.prompts import TURNS, load_prompt
from tests.tasks.caption.captioning import CAPTION, good_answer


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    number: int
    path: str
    headers: dict[str, str]
    raw: bytes

    @cached_property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)

    @cached_property
    def parts(self) -> list[dict[str, Any]]:
        """Of the user message."""
        content = self.body["messages"][-1]["content"]
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    @cached_property
    def document(self) -> dict[str, Any]:
        return json.loads(next(p["text"] for p in self.parts if p["type"] == "text"))

    @cached_property
    def turn(self) -> str:
        instructions = self.body["messages"][0]["content"]
        return next(name for name in (*TURNS, "verifier", "captioner") if load_prompt("v1", name) == instructions)


@dataclass(frozen=True)
class Told:
    """What goes back, and how."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float | None = None
    """Seconds between single bytes."""
    endless: bool = False
    """The body goes on for as long as someone reads; no length is announced."""
    drop: str | None = None
    """'before' a byte is sent, or in the 'middle' of the body."""


def said(content: str | None, finish: str = "stop", refusal: str | None = None, **usage: int) -> Told:
    """A chat completion whose message is `content`."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    tokens = usage or {"prompt_tokens": 100, "completion_tokens": 20}
    whole = {
        "id": "x", "object": "chat.completion", "created": 1, "model": "tiny",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {**tokens, "total_tokens": sum(tokens.values())},
    }  # fmt: skip
    return Told(json.dumps(whole).encode())


def failed(status: int, message: str = "", code: str | None = None, **headers: str) -> Told:
    """An error in OpenAI's form. Headers by name with '_' for '-'."""
    body = json.dumps({"error": {"message": message, "type": "x", "param": None, "code": code}}).encode()
    return Told(body, status, {k.replace("_", "-"): v for k, v in headers.items()})


def good(asked: Asked) -> Told:
    """What a capable model says, to any engine."""
    if asked.turn == "verifier":
        first = asked.document["candidates"][0]["id"]
        answer = {"assigned_id": first, "confidence": 0.9, "rationale": "It fits."}
    elif asked.turn == "captioner":
        answer = {"caption": f"A man kicks a ball in {asked.document['frames']} frames."}
    else:
        answer = good_answer(asked.turn, {**asked.document, "caption": CAPTION})
    return said(json.dumps({**answer, "nonce": asked.document["nonce"]}))


class FaultServer:
    """Serves in a thread of its own until the block ends. HTTP/1.1 with kept connections."""

    def __init__(self, answer: Callable[[Asked], Any] = good, models: Any = None) -> None:
        self.answer = answer
        self.models: Any = models or [{"id": "tiny", "object": "model", "created": 1, "root": "org/tiny"}]
        self.asked: list[Asked] = []
        self.mistakes: list[Exception] = []
        self.listed = 0
        self.most = self.broken = 0
        """The most requests that waited at once for their answer, and those whose caller went away before the end."""
        self._waiting: set[int] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "FaultServer":
        ready = threading.Event()
        self.loop = asyncio.new_event_loop()

        async def serve() -> None:
            self.tasks: set[asyncio.Task[None]] = set()
            self.server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
            self.port = self.server.sockets[0].getsockname()[1]
            ready.set()

        def run() -> None:
            self.loop.run_until_complete(serve())
            self.loop.run_forever()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
        if self.mistakes:
            raise self.mistakes[0]

    async def _stop(self) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.server.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.broken += 1
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection goes on."""
        head = await reader.readline()
        if not head:
            return False
        headers: dict[str, str] = {}
        while (line := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        path = head.split()[1].decode()
        if path.endswith("/models"):
            self.listed += 1
            told = self.models if isinstance(self.models, Told) else Told(json.dumps({"data": self.models}).encode())
            await self._send(writer, told)
            return True
        asked = Asked(len(self.asked), path, headers, raw)
        self.asked.append(asked)
        self._waiting.add(asked.number)
        self.most = max(self.most, len(self._waiting))
        # Someone who hangs up while the answer is made: asyncio tells only readers.
        gone = asyncio.ensure_future(reader.read(1))
        try:
            made = asyncio.ensure_future(self._answer(asked, writer))
            await asyncio.wait({gone, made}, return_when=asyncio.FIRST_COMPLETED)
            if not made.done():
                made.cancel()
                self.broken += 1
                return False
            return made.result() and not gone.done()
        finally:
            gone.cancel()
            await asyncio.wait({gone})
            self._waiting.discard(asked.number)

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        try:
            told = self.answer(asked)
            if inspect.isawaitable(told):
                told = await told
        except Exception as mistake:  # a test's script is wrong: told when the block ends
            self.mistakes.append(mistake)
            writer.transport.abort()
            return False
        await asyncio.sleep(told.delay)
        # From the first byte on the caller may have its answer, and send the next request before we are done here.
        self._waiting.discard(asked.number)
        if told.drop == "before":
            writer.transport.abort()
            return False
        await self._send(writer, told)
        return not (told.drop or told.endless)

    async def _send(self, writer: asyncio.StreamWriter, told: Told) -> None:
        length = {} if told.endless else {"content-length": str(len(told.body))}
        headers = {"content-type": "application/json", **length, **told.headers}
        lines = [f"HTTP/1.1 {told.status} X", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        if told.drop == "middle":
            writer.write(told.body[: len(told.body) // 2])
            await writer.drain()
            writer.transport.abort()
        elif told.drip is not None:
            for at in range(len(told.body)):
                writer.write(told.body[at : at + 1])
                await writer.drain()
                await asyncio.sleep(told.drip)
        else:
            writer.write(told.body)
            await writer.drain()
            while told.endless:
                writer.write(b" " * 65536)
                await writer.drain()
