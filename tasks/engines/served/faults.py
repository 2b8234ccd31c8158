"""Whose fault was it? What can go wrong with a request, sorted into what follows from it.

server   time-out, dropped connection, 408, 409, 425, 429, 5xx, nonsense for an answer → tried again, clip pending
clip     too long for the model, refused by a content policy, a reply without end     → BadReply: asked again or null
request  any other 400, 413, 422: this request cannot be answered, nobody knows why   → a failed attempt of the clip
stop     key refused, model gone, moved elsewhere, nothing left to pay with           → the run ends
"""

import email.utils
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import openai

from schemas.text import one_line
from tasks.engines.served.connection import OverlongError

_TOO_LONG = re.compile(
    r"context (length|window|size)|maximum (context|model|input|sequence) length|max_model_len|too many tokens"
    r"|(prompt|input|request) is too long|longer than the maximum|context_length_exceeded|reduce the length",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content[ _](management[ _])?(policy|filter)|content_policy_violation|moderation|inappropriate content"
    r"|data_inspection_failed|safety (system|policy)|usage polic",
    re.IGNORECASE,
)
_NO_MONEY = re.compile(r"insufficient_quota|billing|credit balance|exceeded your current quota", re.IGNORECASE)


class RequestRefusedError(Exception):
    """The server calls the request impossible, for a reason that is not known to be the clip's: a failed attempt."""


@dataclass(frozen=True)
class Fault:
    """What went wrong, for people, and what follows. The text holds what the server said, cut and made visible."""

    kind: Literal["server", "clip", "request", "stop"]
    text: str
    retry_after: float | None = None
    reconnects: bool = False
    """The connection was lost: what answers next may be another server."""


def judge(error: Exception, deadline_s: float, clean: Callable[[str], str]) -> Fault:
    """Sort one failure. `clean` takes the key out of whatever a server said, before it is cut."""
    overlong = error if isinstance(error, OverlongError) else error.__cause__
    if isinstance(overlong, OverlongError):
        if overlong.status < 300:
            return Fault("clip", str(overlong))
        return _by_status(overlong.status, str(overlong), None)
    if isinstance(error, TimeoutError):
        return Fault("server", f"no whole reply within {deadline_s:g} s")
    if isinstance(error, openai.APIStatusError):
        return _by_status(error.status_code, _said(error, clean), _retry_after(error.response.headers))
    if isinstance(error, openai.APITimeoutError):
        return Fault("server", "timed out", reconnects=True)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        text = f"no connection ({type(cause).__name__}: {cause})"
        return Fault("server", one_line(clean(text), 300), reconnects=True)
    return Fault("server", one_line(clean(str(error) or type(error).__name__), 300))


def _by_status(status: int, said: str, retry_after: float | None) -> Fault:
    text = f"HTTP {status}" + (f": {said}" if said else "")
    if status == 402 or (status in (403, 429) and _NO_MONEY.search(said)):
        return Fault("stop", f"{text} (no quota is left: see to the account)")
    if status in (408, 409, 425, 429) or status >= 500:
        return Fault("server", text, retry_after)
    if status in (401, 403):
        return Fault("stop", f"{text} (the key is refused: see api_key_env and api_key_block)")
    if status in (404, 405):
        return Fault("stop", f"{text} (the model or the address is unknown there: see model and base_url)")
    if status < 400:
        return Fault("stop", f"{text} (it sends requests elsewhere: set base_url to the final address)")
    if _TOO_LONG.search(said) or _POLICY.search(said):
        return Fault("clip", text)
    return Fault("request", text)


def _said(error: openai.APIStatusError, clean: Callable[[str], str]) -> str:
    """The server's own words: the message of an error object in any of the usual shapes, or the body's beginning."""
    body: Any = error.body
    if isinstance(body, dict):
        body = body.get("error", body)
    if isinstance(body, dict):
        found = body.get("message") or body.get("detail") or json.dumps(body)
        code = body.get("code")
        body = f"{found} ({code})" if isinstance(code, str) else found
    return one_line(clean(str(body or "")), 300)


def _retry_after(headers: Any) -> float | None:
    """Seconds that the server asks to wait, from a number or a date; None where it says nothing usable."""
    text = str(headers.get("retry-after", "")).strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
