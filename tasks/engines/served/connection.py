"""The HTTP side of a server: an AsyncOpenAI client whose transport holds the key and the bounds.

The SDK never learns the key, and what it would add of its own (keys, organisation and headers from OPENAI_* variables,
facts about this machine) does not leave the process: only the headers named here are sent. A body is read up to a bound
and no further, redirects are not followed, compressed bodies are refused (a small one may unpack to any size).
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator

import httpx2
from openai import AsyncOpenAI
from pydantic import SecretStr

from tasks.engines.served.options import ServedOptions
from tasks.errors import UserError

_SENT = frozenset({"host", "accept", "connection", "content-type", "content-length", "user-agent"})


class OverlongError(Exception):
    """A body grew beyond the bound, or cannot be bounded; `status` is the HTTP status it came with."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, status: int, limit: int) -> None:
        self.inner, self.status, self.limit = inner, status, limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self.inner:
            size += len(part)
            if size > self.limit:
                raise OverlongError(self.status, f"a reply of more than {self.limit} bytes was cut off")
            yield part

    async def aclose(self) -> None:
        await self.inner.aclose()


class _Transport(httpx2.AsyncHTTPTransport):
    def __init__(self, key: SecretStr | None, limit: int, connections: int, encrypted: bool) -> None:
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        # Reading the certificates of the world takes longer than a request; plain HTTP never asks for one.
        super().__init__(limits=limits, verify=True if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self.key, self.limit = key, limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        for name in set(request.headers) - _SENT:
            del request.headers[name]
        request.headers["accept-encoding"] = "identity"
        if self.key:
            request.headers["authorization"] = f"Bearer {self.key.get_secret_value()}"
        response = await super().handle_async_request(request)
        if self.key:
            del request.headers["authorization"]  # errors carry the request with them
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.stream.aclose()
            raise OverlongError(response.status_code, "a compressed reply, which was not asked for")
        response.stream = _Bounded(response.stream, response.status_code, self.limit)
        return response


def connect(options: ServedOptions, key: SecretStr | None) -> AsyncOpenAI:
    """A client for one server. Use and close it in one event loop; retries are not its business."""
    timeout = httpx2.Timeout(options.timeout_s, connect=options.connect_timeout_s, pool=None)
    encrypted = options.base_url.startswith("https:")
    transport = _Transport(key, options.max_reply_bytes, options.concurrency, encrypted)
    http = httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False)
    return AsyncOpenAI(
        base_url=options.base_url, api_key="set-by-the-transport", http_client=http, max_retries=0, timeout=timeout
    )


def key_from_environment(options: ServedOptions) -> SecretStr | None:
    """The key, where the options name a variable. UserError where it is not set."""
    if options.api_key_env is None:
        return None
    value = os.environ.get(options.api_key_env, "").strip()
    if not value:
        raise UserError(
            f"the environment variable {options.api_key_env} is not set: it must hold the key of the server"
        )
    return _fit_for_a_header(value, options.api_key_env)


def key_from_block(name: str) -> SecretStr:
    """The key in a Prefect Secret block; UserError where there is none. Call it from a thread without an event loop."""
    from prefect.blocks.system import Secret  # Prefect only where a block is named

    try:
        block: Secret[str] = asyncio.run(Secret.aload(name))
        value = block.get()
    except ValueError:
        raise UserError(
            f"there is no Prefect Secret block named {name!r}: make it in the UI under Blocks, or use api_key_env"
        ) from None
    return _fit_for_a_header(value.strip() if isinstance(value, str) else "", name)


def _fit_for_a_header(value: str, name: str) -> SecretStr:
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise UserError(f"what {name} holds is no key: it must be one line of printable ASCII without spaces")
    return SecretStr(value)
