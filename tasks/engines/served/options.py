"""Settings of the engines behind a server. Secrets are named here, never held."""

from collections.abc import Iterator
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator

from schemas.credentials import is_secret
from tasks.engines.options import CaptioningOptions, EngineOptions, VerifyingOptions, model_name

VERSION = 2
"""Raised when this package asks or reads in another way, so that what was answered before does not count."""

OURS = frozenset({"model", "messages", "response_format", "temperature", "seed", "max_tokens", "stream", "n"})
"""Fields of a request that `extra_body` may not set."""


def _names_in(value: JsonValue) -> Iterator[str]:
    """Every key of a JSON value, however deep."""
    for name, below in value.items() if isinstance(value, dict) else ():
        yield name
        yield from _names_in(below)
    for below in value if isinstance(value, list) else ():
        yield from _names_in(below)


class ServedOptions(EngineOptions):
    """What the three engines share: which server, how it is asked, and how long it may take."""

    not_in_rows: ClassVar[frozenset[str]] = frozenset({
        "base_url", "api_key_env", "api_key_block", "concurrency", "connect_timeout_s", "timeout_s", "retries",
        "max_wait_s", "breaker_after", "price_per_million_prompt", "price_per_million_completion",
    })  # fmt: skip

    base_url: str = Field(
        default="http://127.0.0.1:8000/v1", description="address of the API, up to and with /v1; never with a password"
    )
    model: str | None = Field(
        default=None, min_length=1, description="name the server must serve; null takes the only one it serves"
    )
    revision: str | None = Field(
        default=None,
        min_length=1,
        description="a name of yours for what the server serves, where its own does not tell; another one begins the "
        "stage anew",
    )
    api_key_env: str | None = Field(
        default=None, min_length=1, description="name of the environment variable that holds the key, if one is needed"
    )
    api_key_block: str | None = Field(
        default=None, min_length=1, description="name of the Prefect Secret block that holds the key, instead"
    )
    temperature: float | None = Field(default=0.0, ge=0, le=2, description="0 is greedy; null leaves it to the server")
    seed: int | None = Field(default=0, ge=0, lt=2**31, description="of the server's sampling; null sends none")
    max_tokens: int | None = Field(
        default=4096, ge=1, description="longest reply, reasoning included; null leaves it to the server"
    )
    structured: Literal["json_schema", "json_object", "none"] = Field(
        default="json_schema",
        description="what holds the model to JSON on the server; every reply is validated here all the same",
    )
    bound_strings: bool = Field(
        default=True,
        description="bound the lengths of strings in the schema, so that no text runs to max_tokens; false for servers "
        "that are slow at it or refuse it",
    )
    extra_body: dict[str, JsonValue] = Field(
        default={}, description="more fields of the request, such as chat_template_kwargs of vLLM; never secrets"
    )
    concurrency: int = Field(
        default=64, ge=1, le=4096, description="requests in flight at this server at once, over the whole process"
    )
    connect_timeout_s: float = Field(default=10.0, gt=0, le=600, description="wait for a connection, in seconds")
    timeout_s: float = Field(
        default=180.0, gt=0, le=3600, description="longest time for one whole reply, however it trickles, in seconds"
    )
    max_reply_bytes: int = Field(
        default=524_288, ge=1024, le=2**26, description="a reply that grows beyond this is cut off unread"
    )
    retries: int = Field(default=4, ge=0, le=20, description="further tries of a request that the server failed")
    max_wait_s: float = Field(
        default=60.0, gt=0, le=3600, description="longest pause before a try, whatever Retry-After asks, in seconds"
    )
    breaker_after: int = Field(
        default=5, ge=1, description="requests lost in a row, each after its retries, that stop the run"
    )
    price_per_million_prompt: float = Field(default=0.0, ge=0, description="price of a million tokens sent")
    price_per_million_completion: float = Field(default=0.0, ge=0, description="price of a million tokens answered")

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        # The value itself is not repeated: it may hold a password.
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as http://127.0.0.1:8000/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold a user or password: put the key into an environment variable (api_key_env)")
        if parts.query or parts.fragment:
            raise ValueError("must end with the path, such as /v1, without '?' or '#'")
        return value.rstrip("/")

    @field_validator("extra_body")
    @classmethod
    def _nothing_of_ours(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(OURS & set(value)):
            raise ValueError(f"{taken[0]} is set by us: use the option of that name, if there is one")
        if secret := sorted(name for name in _names_in(value) if is_secret(name)):
            raise ValueError(f"{secret[0]} looks like a secret: put the key into an environment variable (api_key_env)")
        return value

    @model_validator(mode="after")
    def _one_key(self) -> "ServedOptions":
        if self.api_key_env and self.api_key_block:
            raise ValueError("api_key_env and api_key_block: give one of them")
        return self

    def counted(self) -> dict[str, JsonValue]:
        return super().counted() | {"model": self.model and model_name(self.model)}

    def sampling(self) -> dict[str, JsonValue]:
        """The settings that may change what one and the same model answers, for identity and cache.

        A reply that is kept was not too long, whatever the bound is now.
        """
        return {name: value for name, value in self.counted().items() if name not in ("model", "max_reply_bytes")}


class LanguageOptions(ServedOptions):
    """`engines.language` named `openai`. Its prompts are the caption stage's, and are counted there."""

    engine: ClassVar[str] = f"served-language/{VERSION}"


class ImageOptions(ServedOptions):
    """Settings of the engines that send images."""

    jpeg_quality: int = Field(default=90, ge=30, le=100, description="of the images sent")


class CaptionerOptions(CaptioningOptions, ImageOptions):
    """`engines.captioner` named `openai`."""

    engine: ClassVar[str] = f"served-captioner/{VERSION}"


class VerifierOptions(VerifyingOptions, ImageOptions):
    """`engines.verifier` named `openai`."""

    engine: ClassVar[str] = f"served-verifier/{VERSION}"
