"""What the ratings of a whole run say of the model that gave them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from schemas import Captioned
from tasks.engines.replies import ScoreReply
from tasks.store.chunks import StageView

LEAST = 8
"""Ratings from which it is no chance that all are alike."""

_RATING = "payload.interactions.list.element.rating"
_COLUMNS = [f"{_RATING}.{name}" for name in ("contact", "dynamism", "confidence")]
_COLUMNS += ["detail", "payload.dropped.list.element.detail"]
_IN_WORDS = re.compile(r"contact (\d), dynamism (\d), confidence ([0-9.e-]+)")


def in_words(score: ScoreReply) -> str:
    """A rating as the details of dropped triplets and rejected clips have it."""
    return f"contact {score.Contact}, dynamism {score.Dynamism}, confidence {score.confidence:g}"


def remarks(store: StageView[Captioned]) -> list[str]:
    """A line where all ratings on record are alike, those of dropped triplets and rejected clips among them.

    Reads the ratings only, and no further than to the first that differs.
    """
    first: tuple[str, str, str] | None = None
    seen, sure = 0, True
    for row in store.columns(_COLUMNS):
        for rating in _ratings(row):
            first = first or rating
            if rating[:2] != first[:2]:
                return []
            seen, sure = seen + 1, sure and rating[2] == first[2]
    if first is None or seen < LEAST:
        return []
    confidence = f", confidence {first[2]}" if sure else ""
    return [f"all {seen:,} ratings are contact {first[0]}, dynamism {first[1]}{confidence}: this model does not rate"]


def _ratings(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Contact, dynamism and confidence of every triplet of a row that was rated."""
    payload = row["payload"] or {"interactions": [], "dropped": []}
    for act in payload["interactions"]:
        rating = act["rating"]
        yield str(rating["contact"]), str(rating["dynamism"]), f"{rating['confidence']:g}"
    for detail in (row["detail"], *(dropped["detail"] for dropped in payload["dropped"])):
        yield from _IN_WORDS.findall(detail)
