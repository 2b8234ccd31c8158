"""The engines `transformers`: a question goes to the cache first, then into the model's line, then it is checked.

engines: {language: {name: transformers, options: {checkpoint: Qwen/Qwen3-VL-2B-Instruct}}}
"""

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel

from schemas.usage import Usage
from tasks.engines.answering import Answering
from tasks.engines.base import BadReply, Message
from tasks.engines.captioning import Captioning
from tasks.engines.in_process.held import schema_of
from tasks.engines.in_process.network import WHAT, Asked, Said, place_of
from tasks.engines.in_process.options import CaptionerOptions, InProcessOptions, LanguageOptions, VerifierOptions
from tasks.engines.metering import spend
from tasks.engines.reading import Reading
from tasks.engines.served.cache import key_of
from tasks.engines.served.images import Picture
from tasks.engines.served.reply import parse
from tasks.engines.served.wire import Tokens
from tasks.engines.verifying import Verifying
from tasks.errors import UserError
from tasks.store.folder import Folder

_SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class InProcess(Answering[Asked]):
    """A model of transformers in this process. Shared by threads, and by all engines that name the same model."""

    def __init__(self, options: InProcessOptions, home: Folder, instructions: str = "") -> None:
        """UserError for whatever is wrong and can be known without loading weights."""
        super().__init__(options, home, instructions)
        self.options, self.place = options, place_of(options)
        counted = {name: value for name, value in options.counted().items() if name != "checkpoint"}
        asked = json.dumps([options.engine, counted, instructions], sort_keys=True)
        self._asked = hashlib.sha256(asked.encode()).hexdigest()[:12]

    @property
    def identity(self) -> str:
        """Engine, model by name and content, what runs it in which precision, and a digest over what changes a reply.

        The first use loads the model.
        """
        versions = " ".join(f"{name}-{_version(name)}" for name in ("transformers", "llguidance"))
        precision = _SHORT[str(self.place.dtype).removeprefix("torch.")]
        name = self.options.counted()["checkpoint"]
        return f"{self.options.engine} {name} {self.place.found} {versions} {precision} {self._asked}"

    @property
    def resolved(self) -> str:
        """What the settings leave open: the content of local weights, the commit of a hub name."""
        return self.place.found

    async def _request(self, messages: Sequence[Message], schema: type[BaseModel]) -> tuple[str, Asked]:
        asked = Asked(tuple(messages), schema_of(messages, schema), self.options.max_tokens)
        told = [[m.role, m.text, [_digest(i) for i in m.images]] for m in messages]
        return key_of(self.identity, json.dumps([told, asked.schema], sort_keys=True).encode()), asked

    async def _answer(self, request: Asked) -> tuple[str, Tokens]:
        """Raises InfrastructureError where the GPU's memory does not hold a single question."""
        said = await self.place.line.put(request, self._kind(request), self.options.batch)
        self._spend(said.tokens)
        return _whole(said), said.tokens

    def _kind(self, request: Asked) -> tuple[object, ...]:
        """What goes into one batch: replies of one form, with as many images and as many tokens."""
        images = sum(len(message.images) for message in request.messages)
        return (*request.schema["properties"], images, request.most)

    def _spend(self, tokens: Tokens, cached: bool = False) -> None:
        sent, said = tokens.prompt_tokens, tokens.completion_tokens
        spend(
            Usage(
                requests=1, prompt_tokens=sent, completion_tokens=said, cached_requests=int(cached),
                cached_tokens=sent + said if cached else 0,
            )
        )  # fmt: skip

    def check(self) -> str:
        """Load the model and answer one small question. One line for people; UserError says what to do."""
        messages, schema = self._probe()
        asked = Asked(tuple(messages), schema_of(messages, schema), self.options.max_tokens)
        with self.place.lock:
            network = self.place.network()
            if any(message.images for message in messages) and not network.sees:
                raise UserError(
                    f"{WHAT}: {self.options.checkpoint} takes no images: name a vision-language model, such as "
                    "Qwen/Qwen3-VL-2B-Instruct"
                )
            began = time.perf_counter()
            (said,) = network.answer([asked])
            took = time.perf_counter() - began
        try:
            parse(_whole(said), schema)
            verdict = f"{said.tokens.prompt_tokens} + {said.tokens.completion_tokens} tokens"
        except BadReply as bad:
            verdict = f"but the reply to a test question is unusable: {bad}"
        return (
            f"{Path(self.options.checkpoint).name}, {self.place.device}, "
            f"{_SHORT[str(self.place.dtype).removeprefix('torch.')]}, {network.parameters / 1e6:.1f} M parameters, "
            f"answered in {took:.2f} s, {verdict}"
        )

    def release(self) -> None:
        """Let go of the model, also for the engines that share it; the next question loads it again."""
        self.place.release()

    def close(self) -> None:
        """Close the replies of its own, and let go of the model."""
        self.cache.close()
        self.release()


class InProcessLanguage(Reading, InProcess):
    """A `LanguageModel` in this process."""

    Options = LanguageOptions


class InProcessCaptioner(Captioning, InProcess):
    """A `Captioner` in this process."""

    Options = CaptionerOptions


class InProcessVerifier(Verifying, InProcess):
    """A `Verifier` in this process."""

    Options = VerifierOptions


def _whole(said: Said) -> str:
    """The text of a whole answer. BadReply where it is none."""
    if said.problem:
        raise BadReply(said.problem, said.text)
    return said.text


def _digest(image: Picture) -> str:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


@lru_cache
def _version(package: str) -> str:
    return importlib.metadata.version(package)
