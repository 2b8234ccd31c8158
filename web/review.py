"""The review server: its routes. Who may do what stands in `web/guard.py`, what decisions mean in `tasks/review/`."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

import numpy as np
from fastapi import Body, Depends, FastAPI, HTTPException, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from schemas.base import InstanceId
from schemas.settings import validate
from tasks.engines.base import Tracker
from tasks.engines.registry import EngineSpec, load_engine
from tasks.media.clips import read_frames
from tasks.review.journal import Journal
from tasks.review.patches import OPS, REASONS, Decide, Finish, Op, Redo, State, Undo, fold
from tasks.review.rules import unfinished
from tasks.review.tracks import acts_after, apply
from tasks.review.words import Reviewable
from web.agreement import tables
from web.failing import tell_failures
from web.guard import COOKIE, SESSION_S, Guard, Session, Sessions, same_origin
from web.propagate import Job, barrier, begin
from web.queue import NEEDS, Filter, Queue
from web.shortcuts import SHORTCUTS
from web.shown import as_json, protocol_frames, strip_of
from web.store import Build
from web.triplets import Wanted, edited
from web.waiting import GoOn, Watch

HERE = Path(__file__).parent

CLAIM_S = 600.0
"""Seconds that a clip is held for who does nothing to it."""

PAGE = 50

ClipName = Annotated[str, InPath(pattern=r"^[0-9a-f]{16}$")]

Asked = Annotated[Filter, Depends()]
"""By the address, a word a field."""

PAGES = Environment(loader=PackageLoader("web"), autoescape=True, undefined=StrictUndefined)


def create_app(
    build: Build, journal: Journal, hosts: tuple[str, ...], order: str = "doubt", go_on: GoOn = lambda _: "build again"
) -> FastAPI:
    """The app over one build. hosts: the names that it is reached by; order: how the queue begins.

    go_on: has a build go on that waits for people, once enough is decided.
    """
    queue, sessions = Queue(build, journal), Sessions(journal)
    watch = Watch(queue, go_on)

    @asynccontextmanager
    async def watching(_: FastAPI) -> AsyncIterator[None]:
        with watch.looking():
            yield

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=watching)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_middleware(Guard, hosts=hosts, person=sessions.name_of)
    tell_failures(app)
    reader, reviewer, admin = (Depends(sessions.require(r)) for r in ("reader", "reviewer", "admin"))
    jobs: dict[str, Job] = {}
    turn = threading.Lock()

    def page(name: str, session: Session | None, **more: Any) -> HTMLResponse:
        return HTMLResponse(PAGES.get_template(name).render({"session": session, "filters": ""} | more))

    def shown(clip: ClipName) -> Reviewable:
        try:
            return queue.clip(clip)
        except KeyError:
            raise HTTPException(404, "there is no such clip in the queue") from None

    def in_order(wanted: Filter) -> Filter:
        return wanted if wanted.order else replace(wanted, order=order)

    def own(seen: Reviewable, session: Session) -> State:
        return fold(journal.patches(seen.clip).get(session.user.name, []), seen.digests)

    @lru_cache(maxsize=4)
    def frames_of(path: str) -> NDArray[np.uint8]:
        return read_frames(Path(build.work.path(path)))

    @app.exception_handler(401)
    def stranger(request: Request, error: HTTPException) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return JSONResponse({"detail": error.detail}, 401)

    @app.get("/favicon.ico")
    def no_icon() -> Response:
        return Response(status_code=204)

    # who is who

    @app.get("/login")
    def login() -> HTMLResponse:
        return page("login.html.j2", None, problem="")

    @app.post("/login", dependencies=[Depends(same_origin)])
    async def log_in(request: Request) -> Response:
        token = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0]
        cookie = sessions.begin(token.strip(), request.client.host if request.client else "?")
        if cookie is None:
            answer: Response = page(
                "login.html.j2", None, problem="Nobody has that token: it is wrong, or a newer one took its place."
            )
            answer.status_code = 403
            return answer
        answer = RedirectResponse("/", 303)
        tls = request.url.scheme == "https"
        answer.set_cookie(COOKIE, cookie, max_age=int(SESSION_S), secure=tls, httponly=True, samesite="strict")
        return answer

    @app.post("/logout")
    def log_out(request: Request, _: Session = reader) -> dict[str, bool]:
        sessions.end(request)
        return {"ok": True}

    # pages

    @app.get("/")
    def overview(wanted: Asked, session: Session = reader, start: int = 0) -> HTMLResponse:
        found = queue.find(in_order(wanted))
        versions = journal.versions()
        rows = [
            (item, queue.standing(item.clip, versions.get(item.clip, 0)))
            for item in found[max(start, 0) : max(start, 0) + PAGE]
        ]
        return page(
            "queue.html.j2", session, rows=rows, total=len(found), start=start, size=PAGE, wanted=in_order(wanted),
            choices=queue.choices, reasons=REASONS, claims=journal.claims(), filters=wanted.query,
            people=[user.name for user in journal.users()], waits=watch.told, needs=NEEDS,
            decided=queue.decided(versions), out=build.out.uri,
        )  # fmt: skip

    @app.get("/next")
    def next_clip(wanted: Asked, session: Session = reviewer, after: str = "") -> RedirectResponse:
        admin = session.user.role == "admin"
        found = queue.take_next(session.user.name, admin, in_order(wanted), CLAIM_S, after)
        return RedirectResponse(f"/clip/{found}{wanted.query}" if found else f"/{wanted.query or '?need=first'}", 303)

    @app.get("/clip/{clip}")
    def clip_page(clip: ClipName, wanted: Asked, session: Session = reader) -> HTMLResponse:
        shown(clip)
        return page("clip.html.j2", session, clip=clip, shortcuts=SHORTCUTS, reasons=REASONS, filters=wanted.query)

    @app.get("/people")
    def people(session: Session = reader) -> HTMLResponse:
        return page("people.html.j2", session, plain=NEEDS, **tables(queue, journal))

    @app.get("/trail")
    def trail(session: Session = admin, clip: str = "") -> HTMLResponse:
        return page("trail.html.j2", session, patches=journal.trail(clip))

    # one clip

    @app.get("/api/clip/{clip}")
    def clip_json(clip: ClipName, session: Session = reader) -> JSONResponse:
        seen = shown(clip)
        return JSONResponse(as_json(seen, own(seen, session)))

    @app.get("/media/{clip}.mp4")
    def media(clip: ClipName, _: Session = reader) -> FileResponse:
        path = build.work.path(shown(clip).case.clip.path)
        if not Path(path).exists():
            raise HTTPException(404, "its video is gone: the next build makes it again")
        return FileResponse(path, media_type="video/mp4", headers={"cache-control": "private, max-age=3600"})

    @app.get("/strip/{clip}.jpg")
    def strip(clip: ClipName, _: Session = reader) -> Response:
        seen = shown(clip)
        return Response(strip_of(frames_of(seen.case.clip.path), protocol_frames(seen)), media_type="image/jpeg")

    @app.post("/api/clip/{clip}/claim")
    def claim(clip: ClipName, session: Session = reviewer) -> dict[str, bool]:
        shown(clip)
        journal.claim(clip, session.user.name, CLAIM_S)
        return {"ok": True}

    @app.post("/api/clip/{clip}/release")
    def release(clip: ClipName, session: Session = reviewer) -> dict[str, bool]:
        journal.release(clip, session.user.name)
        return {"ok": True}

    @app.post("/api/clip/{clip}/patch")
    def patch(
        clip: ClipName, seen: Annotated[int, Body(ge=0)], op: Annotated[dict[str, Any], Body()],
        session: Session = reviewer,
    ) -> JSONResponse:  # fmt: skip
        looked = shown(clip)
        try:
            done, was = _checked(looked, own(looked, session), op)
        except ValueError as error:
            raise HTTPException(422, str(error).splitlines()[0][:300]) from None
        journal.append(clip, session.user.name, seen, done, looked.digests, was, CLAIM_S)
        if isinstance(done, Finish):
            journal.release(clip, session.user.name)
        return JSONResponse(as_json(looked, own(looked, session)))

    # the tracker, asked again

    @app.post("/api/clip/{clip}/propagate")
    def propagate(
        clip: ClipName, id: Annotated[InstanceId, Body()], frame: Annotated[int, Body(ge=0)],
        session: Session = reviewer,
    ) -> dict[str, Any]:  # fmt: skip
        seen = shown(clip)
        journal.claim(clip, session.user.name, CLAIM_S)
        state = own(seen, session)
        track = apply(seen.masks, state.edits, seen.size).get(id, ())
        if frame + 1 >= len(track) or track[frame] is None:
            raise HTTPException(422, "there is no mask to begin from, or no frame to go to")
        locked = [e.frame for e in state.edits if e.op == "paint" and e.by_hand and e.id == id]
        running = jobs.get(clip)
        if running and not running.done.is_set() and not running.cancelled:
            raise HTTPException(409, "the tracker is at this clip already")
        job = jobs[clip] = Job(clip, session.user.name, id, frame, barrier(frame, len(track), locked))
        mask = track[frame]
        assert mask is not None
        begin(job, _tracker(build), lambda: frames_of(seen.case.clip.path), mask, seen.size, turn)
        return {"until": job.end}

    @app.get("/api/clip/{clip}/propagate")
    def progress(clip: ClipName, session: Session = reviewer) -> dict[str, Any]:
        job = jobs.get(clip)
        if job is None or job.reviewer != session.user.name or job.cancelled:
            return {"state": "none"}
        if not job.done.is_set():
            return {"state": "running"}
        if jobs.pop(clip, None) is None:  # another window was quicker
            return {"state": "none"}
        if job.error or not job.masks:
            return {"state": "failed", "why": job.error or "nothing lies between here and the next locked frame"}
        return {"state": "done", "id": job.id, "frame": job.frame + 1, "masks": job.masks}

    @app.post("/api/clip/{clip}/cancel")
    def cancel(clip: ClipName, session: Session = reviewer) -> dict[str, bool]:
        job = jobs.get(clip)
        if job and job.reviewer == session.user.name:
            job.cancelled = True
            jobs.pop(clip, None)
        return {"ok": True}

    return app


def _checked(seen: Reviewable, before: State, sent: dict[str, Any]) -> tuple[Op, str]:
    """The operation as it goes on record, and what was so before it. ValueError where it makes no sense."""
    if sent.get("op") == "act":
        wanted = Wanted.model_validate(sent)
        return edited(seen, acts_after(seen.acts, before.edits), wanted), wanted.text
    op = OPS.validate_python(sent)
    if isinstance(op, Decide):
        if op.id not in seen.masks:
            raise ValueError(f"there is no {op.id} in this clip")
        said = before.decisions.get(op.id)
        return op, f"{said.decision} {said.reason}".strip() if said else ""
    if isinstance(op, Finish):
        why = unfinished(before, seen.masks)
        if why:
            raise ValueError(why)
        return op, ""
    if isinstance(op, Undo | Redo):
        if not (before.can_undo if isinstance(op, Undo) else before.can_redo):
            raise ValueError(f"there is nothing to {op.op}")
        return op, ""
    apply(seen.masks, [*before.edits, op], seen.size)
    return op, ""


def _tracker(build: Build) -> Callable[[], Tracker]:
    """The build's own tracker, loaded when it is first asked."""

    def loaded() -> Tracker:
        spec = validate(EngineSpec, build.settings.get("engines", {}).get("tracker", {}))
        found: Tracker = load_engine("tracker", spec, build.work.below("replies"))
        return found

    return loaded
