"""The base of the engines behind a server.

Building and reading happen where the caller is; only the waiting happens in the background loop.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence

from pydantic import BaseModel

from schemas.usage import Usage
from tasks.engines.answering import Answering
from tasks.engines.base import BadReply, Message
from tasks.engines.metering import spend
from tasks.engines.served.background import over_there, wait_for
from tasks.engines.served.cache import key_of
from tasks.engines.served.client import Client
from tasks.engines.served.faults import RequestRefusedError
from tasks.engines.served.models import ServedModel
from tasks.engines.served.options import ImageOptions, ServedOptions
from tasks.engines.served.reply import content_of, parse
from tasks.engines.served.wire import Tokens, request_body
from tasks.errors import InfrastructureError, NotReady, UserError
from tasks.store.folder import Folder


class Served(Answering[bytes]):
    """A model behind an OpenAI-compatible server. Shared by threads; one connection pool and one cache an engine."""

    def __init__(self, options: ServedOptions, home: Folder, instructions: str = "") -> None:
        """UserError where the key's environment variable is not set. No request is made yet."""
        super().__init__(options, home, instructions)
        self.options, self.client = options, Client(options)
        asked = [options.engine, options.sampling(), instructions]
        self._asked = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        self._quality = options.jpeg_quality if isinstance(options, ImageOptions) else 90

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.options.base_url}>"

    @property
    def identity(self) -> str:
        """Engine, model and revision as the server reports them, and a digest over all that changes a reply.

        The first use asks the server. UserError where it is not there, refuses the key or serves another model.
        """
        served = self.client.served
        return self._identity(wait_for(self.client.look()) if served is None else served)

    @property
    def resolved(self) -> str:
        """Which model answers, as the server names it. Errors as for `identity`."""
        return (self.client.served or wait_for(self.client.look())).name

    def _identity(self, model: ServedModel) -> str:
        return f"{self.options.engine} {model.name} {self._asked}"

    async def _answer(self, request: bytes) -> tuple[str, Tokens]:
        """InfrastructureError for a server that fails after all tries, StopRun when nothing that follows could go
        better, RequestRefusedError for a request that the server will not take.
        """
        completion = await over_there(self.client.complete(request))
        self._spend(completion.tokens)
        return content_of(completion.choices[0]), completion.tokens

    async def _request(self, messages: Sequence[Message], schema: type[BaseModel]) -> tuple[str, bytes]:
        """Key and body of a request."""
        model = self.client.served
        if model is None:
            model = await over_there(self.client.model())
        work = (self.options, model.id, messages, schema, self._quality)
        # Encoding images takes milliseconds, in which other clips' replies could be read.
        images = any(message.images for message in messages)
        body = await asyncio.to_thread(request_body, *work) if images else request_body(*work)
        return key_of(self._identity(model), body), body

    def _spend(self, tokens: Tokens, cached: bool = False) -> None:
        sent, said = tokens.prompt_tokens, tokens.completion_tokens
        o = self.options
        cost = (sent * o.price_per_million_prompt + said * o.price_per_million_completion) / 1e6
        spend(
            Usage(
                requests=1, prompt_tokens=sent, completion_tokens=said, cached_requests=int(cached),
                cached_tokens=sent + said if cached else 0, cost=0.0 if cached else cost,
            )
        )  # fmt: skip

    def check(self) -> str:
        """Ask the server anew for its models, and one small question. One line for people.

        UserError says what is wrong. A reply that does not fit is told and no error: whether a model is good enough is
        for people to say.
        """
        model = wait_for(self.client.look())
        messages, schema = self._probe()
        body = request_body(self.options, model.id, messages, schema, self._quality)
        self.client.breaker.went_well()
        began = time.perf_counter()
        try:
            choice = (completion := wait_for(self.client.complete(body))).choices[0]
            parse(content_of(choice), schema)
            verdict = f"{completion.tokens.prompt_tokens} + {completion.tokens.completion_tokens} tokens"
        except BadReply as bad:
            verdict = f"but the reply to a test question is unusable: {bad}"
        except (InfrastructureError, RequestRefusedError) as error:
            kind = NotReady if isinstance(error, InfrastructureError) else UserError
            raise kind(f"{self.options.base_url} lists its models but does not answer: {error}") from None
        took = time.perf_counter() - began
        context = f", context {model.max_model_len}" if model.max_model_len else ""
        return f"{model.name} at {self.options.base_url}{context}, answered in {took:.2f} s, {verdict}"

    def close(self) -> None:
        """Close the connections and the replies of its own; the next request opens others."""
        wait_for(self.client.close())
        self.cache.close()
