"""What stands between the network and the pages: hosts, sizes, rates, headers, and who is who."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.review.journal import Journal, Role, User

COOKIE, CSRF = "matrix_session", "x-csrf"

SESSION_S = 12 * 3600.0
"""Seconds that a session holds."""

LARGEST = 4_000_000
"""Bytes of a request; masks of a long clip are some hundred thousand."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_RANKS: dict[Role, int] = {"reader": 0, "reviewer": 1, "admin": 2}


class Guard:
    """ASGI middleware: refuses foreign hosts, large and too many requests, and puts the headers on every answer."""

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], per_second: float = 40.0, burst: float = 200.0,
        now: Callable[[], float] = time.monotonic,
        person: Callable[[str], str] = lambda _: "",
    ) -> None:  # fmt: skip
        """per_second, burst: requests of one person, and of an address that nobody is logged in from.

        person: whose request it is, by its cookie; empty for a cookie that is nobody's, which so gains nothing.
        """
        self.app, self.hosts, self.now, self.person = app, frozenset(hosts), now, person
        self.per_second, self.burst = per_second, burst
        self._buckets: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if refused:
            status, words = refused
            await PlainTextResponse(words, status)(scope, receive, _with_headers(send))
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > LARGEST:  # of a request that does not say how long it is
                raise HTTPException(413, "too large")
            return message

        await self.app(scope, bounded, _with_headers(send))

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "").rsplit(":", 1)[0] if "]" not in headers.get("host", "") else "[::1]"
        if host not in self.hosts:
            return 421, "this server does not go by that name"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > LARGEST:
            return 413, "too large"
        client = scope["client"][0] if scope.get("client") else "?"
        if not self._allowed(f"{client} {self.person(cookie_parser(headers.get('cookie', '')).get(COOKIE, ''))}"):
            return 429, "too many requests: wait a moment"
        return None

    def _allowed(self, who: str) -> bool:
        now = self.now()
        left, last = self._buckets.get(who, (self.burst, now))
        left = min(self.burst, left + (now - last) * self.per_second)
        if len(self._buckets) > 10_000:
            self._buckets.clear()
        self._buckets[who] = (max(left - 1, 0.0), now)
        return left >= 1


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = POLICY
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "same-origin"  # with none, a form of our own has no origin
            headers["cross-origin-opener-policy"] = "same-origin"
            headers["cross-origin-resource-policy"] = "same-origin"
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sent


@dataclass(frozen=True)
class Session:
    user: User
    csrf: str


class Sessions:
    """Who is logged in. Held in memory: after a restart people log in again."""

    def __init__(self, journal: Journal, now: Callable[[], float] = time.time) -> None:
        self.journal, self.now = journal, now
        self._open: dict[str, tuple[str, str, float]] = {}
        self._tries: dict[str, list[float]] = {}

    def begin(self, token: str, client: str) -> str | None:
        """The cookie of a new session; None for a token that is nobody's. HTTPException after too many tries."""
        now = self.now()
        tries = self._tries[client] = [at for at in self._tries.get(client, []) if now - at < 60]
        if len(tries) >= 10:
            raise HTTPException(429, "too many tries: wait a minute")
        user = self.journal.user_of(token)
        if user is None:
            tries.append(now)
            return None
        cookie = secrets.token_urlsafe(32)
        self._open = {k: v for k, v in self._open.items() if v[2] > now}
        self._open[_hashed(cookie)] = (user.name, secrets.token_urlsafe(24), now + SESSION_S)
        return cookie

    def end(self, request: Request) -> None:
        self._open.pop(_hashed(request.cookies.get(COOKIE, "")), None)

    def name_of(self, cookie: str) -> str:
        """Who has logged in with a cookie; empty for one that is nobody's."""
        found = self._open.get(_hashed(cookie))
        return found[0] if found and found[2] >= self.now() else ""

    def of(self, request: Request) -> Session | None:
        """Whose request it is. Roles are asked each time: who was dismissed is out at once."""
        found = self._open.get(_hashed(request.cookies.get(COOKIE, "")))
        if found is None or found[2] < self.now():
            return None
        user = next((user for user in self.journal.users() if user.name == found[0]), None)
        return Session(user, found[1]) if user else None

    def require(self, role: Role) -> Callable[[Request], Session]:
        """A dependency of a route: 401 for strangers, 403 for a lesser role, or a change without its CSRF token."""

        def check(request: Request) -> Session:
            session = self.of(request)
            if session is None:
                raise HTTPException(401, "log in first")
            if _RANKS[session.user.role] < _RANKS[role]:
                raise HTTPException(403, f"this needs the role {role}")
            given = request.headers.get(CSRF, "")
            if request.method != "GET" and not hmac.compare_digest(given.encode(), session.csrf.encode()):
                raise HTTPException(403, "this request did not come from our page")
            return session

        return check


def same_origin(request: Request) -> None:
    """403 for a form that another site has sent."""
    origin, host = request.headers.get("origin"), request.headers["host"]
    if origin == f"https://{host}" and request.url.scheme == "http":
        raise HTTPException(403, "nothing says that this came by https: have the proxy send X-Forwarded-Proto, and "
                            "start the page with --proxy and its address")  # fmt: skip
    if origin not in (None, f"{request.url.scheme}://{host}"):
        raise HTTPException(403, "this request did not come from our page")


def _hashed(text: Any) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()
