"""What the answers behind a row cost: requests and tokens of models behind a server."""

from pydantic import Field

from schemas.base import Count, Record


class Usage(Record):
    """Sums over the requests of one clip at one stage. A reply out of the cache counts the tokens it once cost."""

    requests: Count = 0
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    cached_requests: Count = Field(default=0, description="of `requests`, those answered from the reply cache")
    cached_tokens: Count = Field(default=0, description="tokens of those, which were not paid for again")
    cost: float = Field(default=0.0, ge=0, description="in the currency of the engine's prices; the cache is free")

    def line(self) -> str:
        """For people: '24 requests (6 cached), 31,402 + 2,210 tokens, cost 0.0123'."""
        cached = f" ({self.cached_requests:,} cached)" if self.cached_requests else ""
        tokens = f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
        return f"{self.requests:,} requests{cached}, {tokens}" + (f", cost {self.cost:.4g}" if self.cost else "")

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})
