"""What the answers behind a row cost, in requests and tokens, and what was mended in those that were taken."""

from pydantic import Field

from schemas.base import Count, Record


class Repairs(Record):
    """How much in the answers was harmless and put right, by kind (`tasks/caption/mending.py`)."""

    unused_entities: Count = Field(default=0, description="entities that no triplet names, left out")
    doubles: Count = Field(default=0, description="triplets and entities listed twice, merged")
    brackets: Count = Field(default=0, description="IDs and surface forms with brackets, case or stops of their own")
    wordings: Count = Field(default=0, description="quotes that differ in case, marks or spaces, put as the caption is")
    nearest_sentences: Count = Field(default=0, description="sentences near to one of the caption, which was taken")
    nouns: Count = Field(default=0, description="nouns with an article, a capital or a stop, taken off")

    def line(self) -> str:
        """For people: '3 unused entities, 1 double'; empty where nothing was mended."""
        counts = {name.replace("_", " "): getattr(self, name) for name in Repairs.model_fields}
        return ", ".join(f"{n:,} {_one_of(kind) if n == 1 else kind}" for kind, n in counts.items() if n)

    def __add__(self, other: "Repairs") -> "Repairs":
        return Repairs(**{name: getattr(self, name) + getattr(other, name) for name in Repairs.model_fields})


def _one_of(kind: str) -> str:
    return kind[:-3] + "y" if kind.endswith("ies") else kind[:-1]


class Usage(Record):
    """Sums over the requests of one clip at one stage. A reply out of the cache counts the tokens it once cost."""

    requests: Count = 0
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    cached_requests: Count = Field(default=0, description="of `requests`, those answered from the reply cache")
    cached_tokens: Count = Field(default=0, description="tokens of those, which were not paid for again")
    cost: float = Field(default=0.0, ge=0, description="in the currency of the engine's prices; the cache is free")
    repaired: Repairs = Field(default=Repairs(), description="in the answers that were taken")

    def line(self) -> str:
        """For people: '24 requests (6 cached), 31,402 + 2,210 tokens, cost 0.0123; repaired: 1 double'."""
        parts = []
        if self.requests:
            cached = f" ({self.cached_requests:,} cached)" if self.cached_requests else ""
            tokens = f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
            parts.append(
                f"{self.requests:,} requests{cached}, {tokens}" + (f", cost {self.cost:.4g}" * bool(self.cost))
            )
        if repaired := self.repaired.line():
            parts.append(f"repaired: {repaired}")
        return "; ".join(parts)

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})
