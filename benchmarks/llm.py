"""What our side of a language model's server costs: `python -m benchmarks.llm`.

Two figures, each against bare AsyncOpenAI calls with the same bodies, on the same server, in the same run, by turns:
the rate of the whole caption stage at 16 and 64 requests in flight with a server that takes its time, and the extra
time and processor time of one request with a server that takes none. Nothing comes out of the reply cache, and every
reply is written to it. The server is a process of its own that answers every turn flawlessly.
"""

import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from schemas import Status
from tasks.caption.stage import CaptionSettings, caption
from tasks.engines.asking import build_messages, make_nonce
from tasks.engines.prompts import load_prompts
from tasks.engines.replies import CountReply, DescribeReply, ScoreReply, TripletsReply
from tasks.engines.served.language import ServedLanguage
from tasks.engines.served.wire import strict_schema
from tasks.store.folder import Folder
from tests.tasks.caption.captioning import CAPTION, good_answer, make_case

LOADS = ((16, 0.1), (64, 0.2))
"""Requests in flight, and seconds that the server takes for a reply."""

ROUNDS = 3
ROUNDS_OF_ONE = 8


def main() -> None:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        homes = (Folder(f"{folder}/{n}") for n in range(1000))
        for flight, latency in LOADS:
            with server(latency) as url:
                figures |= rates(url, flight, clips=flight * 4, latency=latency, homes=homes)
        with server(0.0) as url:
            figures |= overhead(url, homes)
    for flight, _ in LOADS:
        print(
            f"llm {flight} in flight: stage {figures[f'stage_per_s_{flight}']} requests/s, bare "
            f"{figures[f'bare_per_s_{flight}']}, ratio {figures[f'ratio_{flight}']} (bar 0.85)"
        )
    print(
        f"llm one request: {figures['ask_ms']} ms against {figures['bare_ms']} bare, overhead "
        f"{figures['overhead_ms']} ms, processor {figures['overhead_cpu_ms']} ms (bar 2)"
    )
    print(json.dumps(figures))


def rates(url: str, flight: int, clips: int, latency: float, homes: Iterator[Folder]) -> dict[str, Any]:
    """Requests per second of the stage over `clips` clips and of as many bare calls, medians over rounds by turns."""
    cases = [make_case(n, CAPTION) for n in range(1, clips + 1)]
    stage_rates, bare_rates, stage_cpu, bare_cpu = [], [], [], []
    for _ in range(ROUNDS):
        engine = ServedLanguage(ServedLanguage.Options(base_url=url, concurrency=flight), next(homes))
        assert engine.identity
        began, cpu = time.perf_counter(), time.process_time()
        rows = list(caption(cases, engine, None, CaptionSettings(concurrency=flight)))
        took, stage_took = time.perf_counter() - began, time.process_time() - cpu
        engine.close()
        requests = sum(row.usage.requests for row in rows if row.usage)
        assert requests == 5 * clips and all(row.status is Status.ACCEPTED for row in rows)
        assert not any(row.usage.cached_requests for row in rows if row.usage)
        stage_rates.append(requests / took)
        stage_cpu.append(stage_took / requests * 1000)
        seconds, spent = asyncio.run(bare(url, requests, flight))
        bare_rates.append(requests / seconds)
        bare_cpu.append(spent / requests * 1000)
    stage, plain = statistics.median(stage_rates), statistics.median(bare_rates)
    return {
        f"latency_s_{flight}": latency,
        f"stage_per_s_{flight}": round(stage, 1),
        f"bare_per_s_{flight}": round(plain, 1),
        f"most_possible_per_s_{flight}": round(flight / latency),
        f"stage_cpu_ms_{flight}": round(statistics.median(stage_cpu), 2),
        f"bare_cpu_ms_{flight}": round(statistics.median(bare_cpu), 2),
        f"ratio_{flight}": round(statistics.median(s / b for s, b in zip(stage_rates, bare_rates, strict=True)), 3),
    }


async def bare(url: str, requests: int, flight: int) -> tuple[float, float]:
    """Seconds and processor seconds that `requests` plain calls take with so many in flight."""
    bodies = [bare_body(n) for n in range(requests)]
    gate = asyncio.Semaphore(flight)
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def one(body: dict[str, Any]) -> None:
            async with gate:
                reply = await client.chat.completions.create(**body)
            assert reply.choices[0].message.content

        await one(bodies[0])
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(one(body) for body in bodies))
        return time.perf_counter() - began, time.process_time() - cpu


def bare_body(number: int) -> dict[str, Any]:
    """What the first turn of clip `number` sends."""
    messages = messages_of(number)
    form = {"name": "CountReply", "strict": True, "schema": strict_schema(CountReply)}
    return {
        "model": "tiny", "messages": [{"role": m.role, "content": m.text} for m in messages], "temperature": 0.0,
        "seed": 0, "max_tokens": 4096, "response_format": {"type": "json_schema", "json_schema": form},
    }  # fmt: skip


def messages_of(number: int) -> Any:
    text = load_prompts("v1").texts["count"]
    return build_messages(text, {"caption": CAPTION}, make_nonce(f"{number:016x}", "count", 0))


def overhead(url: str, homes: Iterator[Folder], count: int = 150) -> dict[str, Any]:
    """Milliseconds and processor milliseconds of one request after another, ours and bare, medians over rounds."""
    engine = ServedLanguage(ServedLanguage.Options(base_url=url), next(homes))
    assert engine.identity

    async def ours(first: int) -> tuple[float, float]:
        await engine.ask(messages_of(10**6 + first), CountReply)
        with clock(count) as took:
            for n in range(first, first + count):
                assert (await engine.ask(messages_of(n), CountReply)).count == 2
        return took[0], took[1]

    async def plain(first: int) -> tuple[float, float]:
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            await client.chat.completions.create(**bare_body(first))
            with clock(count) as took:
                for n in range(first, first + count):
                    reply = await client.chat.completions.create(**bare_body(n))
                    assert reply.choices[0].message.content
            return took[0], took[1]

    starts = [count * n for n in range(ROUNDS_OF_ONE)]
    both = [(asyncio.run(ours(first)), asyncio.run(plain(first))) for first in starts]
    engine.close()
    (ask_ms, ask_cpu), (bare_ms, bare_cpu) = (
        [statistics.median(pair[side][what] for pair in both) for what in (0, 1)] for side in (0, 1)
    )
    return {
        "ask_ms": round(ask_ms, 2), "bare_ms": round(bare_ms, 2), "overhead_ms": round(ask_ms - bare_ms, 2),
        "ask_cpu_ms": round(ask_cpu, 2), "bare_cpu_ms": round(bare_cpu, 2),
        "overhead_cpu_ms": round(ask_cpu - bare_cpu, 2),
    }  # fmt: skip


@contextmanager
def clock(count: int) -> Iterator[list[float]]:
    """Milliseconds and processor milliseconds of each of `count` steps inside, once they are done."""
    took: list[float] = []
    wall, cpu = time.perf_counter(), time.process_time()
    yield took
    took += [(time.perf_counter() - wall) / count * 1000, (time.process_time() - cpu) / count * 1000]


@contextmanager
def server(latency: float) -> Iterator[str]:
    """The answering process; its address."""
    command = [sys.executable, "-m", "benchmarks.llm", "serve", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


class Answers(asyncio.Protocol):
    """Just enough HTTP: whole requests with a length, answers after a while, connections kept."""

    latency = 0.0
    ready: dict[bytes, bytes]
    """The reply's bytes by the name of its schema, with a nonce of zeros in it."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if not end or len(body) < (int(length.group(1)) if length else 0):
            return
        self.data = b""
        if head.startswith(b"GET"):
            self.send(json.dumps({"data": [{"id": "tiny", "root": "tiny"}]}).encode())
            return
        name, nonce = re.search(rb'"name": ?"(\w+)"', body), re.search(rb'nonce\\": \\"([0-9a-f]{16})', body)
        assert name and nonce
        answer = self.ready[name.group(1)].replace(b"0" * 16, nonce.group(1))
        asyncio.get_running_loop().call_later(self.latency, self.send, answer)

    def send(self, answer: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n"
        self.transport.write(head.encode() + answer)


async def serve(latency: float) -> None:
    Answers.latency = latency
    entities = [{"id": f"id{n}"} for n in (1, 2, 3)]
    document = {"nonce": "0" * 16, "caption": CAPTION, "entities": entities}
    forms = {"count": CountReply, "triplets": TripletsReply, "score": ScoreReply, "describe": DescribeReply}
    Answers.ready = {
        form.__name__.encode(): json.dumps({
            "id": "x", "object": "chat.completion", "created": 1, "model": "tiny",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {
                "role": "assistant", "content": json.dumps(good_answer(turn, document)),
            }}],
            "usage": {"prompt_tokens": 500, "completion_tokens": 100, "total_tokens": 600},
        }).encode()
        for turn, form in forms.items()
    }  # fmt: skip
    listening = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(float(sys.argv[2])))
    else:
        main()
