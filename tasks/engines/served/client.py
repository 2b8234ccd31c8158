"""One request until it ends: tried again where the server failed, and an end that says whose fault it was.

Everything here runs in the background loop (`background.py`); engines call it from theirs through `over_there`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx2
import openai
from openai import AsyncOpenAI
from pydantic import BaseModel, SecretStr, ValidationError

from tasks.engines.base import BadReply
from tasks.engines.served.connection import OverlongError, connect, key_from_block, key_from_environment
from tasks.engines.served.faults import Fault, RequestRefusedError, judge
from tasks.engines.served.models import Listing, ServedModel, pick
from tasks.engines.served.options import ServedOptions
from tasks.engines.served.patience import Breaker, Gate, pause
from tasks.engines.served.wire import Completion
from tasks.errors import InfrastructureError, NotReady, UserError

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

LISTING_TIMEOUT_S = 15.0
ADVICE = "see to the server and run the same again, what was answered is kept (docs/engines/language.md)"


class _NonsenseError(Exception):
    """The server answered with something that is not of the API."""


class Client:
    """A server as one engine uses it."""

    def __init__(self, options: ServedOptions) -> None:
        """UserError where the key's environment variable is not set."""
        self.options, self.server = options, options.base_url
        self.key: SecretStr | None = key_from_environment(options)
        self.breaker = Breaker(options.breaker_after, ADVICE)
        self.served: ServedModel | None = None
        self._doubted = False
        self._http: AsyncOpenAI | None = None
        self._gate: Gate | None = None
        self._lock = asyncio.Lock()

    async def complete(self, body: bytes) -> Completion:
        """The server's answer to a chat request.

        Raises BadReply (the clip's fault), RequestRefusedError (a failed attempt of the clip), InfrastructureError
        (after all tries), or StopRun.
        """
        if self._gate is None:
            self._gate = Gate(self.server, self.options.concurrency)
        async with self._gate.passed():
            return await self._tried(lambda: self._post(body), self.options.timeout_s)

    async def model(self) -> ServedModel:
        """What the server serves by the name that the options ask for; asked once. Errors as for `complete`."""
        async with self._lock:
            if self.served is None:
                self.served = await self._tried(self._ask_model, LISTING_TIMEOUT_S)
            return self.served

    async def look(self) -> ServedModel:
        """What it serves now, whatever it did before, in one try. NotReady, for people, where it is not to be had."""
        async with self._lock:
            try:
                async with asyncio.timeout(LISTING_TIMEOUT_S):
                    self.served = await self._ask_model()
            except (openai.OpenAIError, OverlongError, TimeoutError, _NonsenseError) as error:
                text = self._judged(error, LISTING_TIMEOUT_S).text
                raise NotReady(
                    f"{self.server}: {text}; start the server, for example with `vllm serve MODEL`, or correct "
                    "base_url (docs/engines/language.md)"
                ) from None
            return self.served

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _tried(self, work: Callable[[], Awaitable[T]], limit_s: float) -> T:
        for attempt in range(self.options.retries + 1):
            self.breaker.before()
            try:
                async with asyncio.timeout(limit_s):
                    if self._doubted:
                        await self._confirm()
                    result = await work()
            except (openai.OpenAIError, OverlongError, TimeoutError, _NonsenseError) as error:
                fault = self._judged(error, limit_s)
            except UserError as error:  # the model is not served, the key is not to be had
                raise self.breaker.trip(str(error)) from None
            else:
                self.breaker.went_well()
                return result
            if fault.kind == "clip":
                self.breaker.went_well()
                raise BadReply(fault.text)
            if fault.kind == "stop":
                raise self.breaker.trip(f"{self.server}: {fault.text}")
            if fault.kind == "request":
                break
            if attempt < self.options.retries:
                await asyncio.sleep(pause(attempt, fault.retry_after, self.options.max_wait_s))
        text = f"{self.server}: {fault.text}"
        if stop := self.breaker.was_lost(text):
            raise stop
        if fault.kind == "request":
            raise RequestRefusedError(text)
        raise InfrastructureError(f"{text} ({self.options.retries + 1} tries)")

    def _judged(self, error: Exception, limit_s: float) -> Fault:
        fault = judge(error, limit_s, self._without_key)
        self._doubted = self._doubted or fault.reconnects
        return fault

    async def _confirm(self) -> None:
        """After a lost connection: is what answers now still the model that the fingerprint names?"""
        if self.served is not None and (now := await self._ask_model()) != self.served:
            raise UserError(
                f"{self.server} now serves another model: {self.served.name} became {now.name}. Replies of two models "
                "do not go into one dataset: start the first one again, or set the engine's `model` or `revision` to "
                "begin the stage anew"
            )
        self._doubted = False

    async def _ask_model(self) -> ServedModel:
        return pick(await self._read("/models", None, Listing), self.options.model, self.server)

    async def _post(self, body: bytes) -> Completion:
        return await self._read("/chat/completions", body, Completion)

    async def _read(self, path: str, body: bytes | None, form: type[M]) -> M:
        """Ask and read the answer as `form`, without the key, should a server repeat it."""
        if self._http is None:
            if self.options.api_key_block is not None and self.key is None:
                self.key = await asyncio.to_thread(key_from_block, self.options.api_key_block)
            self._http = self._http or connect(self.options, self.key)
        if body is None:
            response = await self._http.get(path, cast_to=httpx2.Response)
        else:
            json = {"Content-Type": "application/json"}
            response = await self._http.post(path, cast_to=httpx2.Response, content=body, options={"headers": json})
        text = self._without_key(response.text)
        try:
            return form.model_validate_json(text)
        except ValidationError:
            raise _NonsenseError(f"not an answer of the API: {text[:200]}") from None

    def _without_key(self, text: str) -> str:
        return text.replace(self.key.get_secret_value(), "***") if self.key is not None else text
