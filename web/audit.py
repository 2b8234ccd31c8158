"""The audit server: one yes/no question after the other, answered by a key. For loopback, so without accounts.

A/audit.json      what was drawn       A/answers.jsonl   an answer a line; of two on one question the later holds
A/audit.md        the figures, and A/figures.json; they go on the card of the build's dataset too
"""

import hmac
import json
import os
import random
import secrets
import threading
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from schemas import Captioned, Verified
from schemas.dataset import AUDIT_FILE, CARD_FILE
from tasks.dataset.reader import read_dataset
from tasks.errors import UserError
from tasks.review.audit import FIGURES, Audit, Kind, Question, draw, figures, table
from tasks.review.journal import Journal
from tasks.review.patches import State
from tasks.review.words import Reviewable
from tasks.shard.card import card
from tasks.store.folder import make_folder
from web.failing import tell_failures
from web.guard import CSRF, Guard, same_origin
from web.queue import Queue
from web.review import HERE, PAGES, ClipName
from web.serve import LOOPBACK
from web.shown import as_json
from web.store import Build


def questions_of(shown: Reviewable, stratum: int, seed: int, first: int) -> list[Question]:
    """One question of each kind about a clip."""
    chance = random.Random(f"{seed} {shown.clip}")
    instances = {i.id: i for i in shown.case.of(Captioned).instances}
    frames = {a.id: a.frame for a in shown.case.of(Verified).anchors}
    act, (thing, other, track) = chance.choice(shown.acts), (chance.choice(sorted(shown.masks)) for _ in range(3))
    nouns = f"{act.subject} {instances[act.subject].noun}", f"{act.object} {instances[act.object].noun}"
    asked: tuple[tuple[Kind, tuple[str, ...], str], ...] = (
        ("object", (thing,), f"Is {thing} a {instances[thing].cls}?"),
        ("attribute", (other,), f"Is this said rightly of {other}: {instances[other].noun}. {instances[other].app}"),
        ("relation", (act.subject, act.object), f"Does this happen: {nouns[0]} · {act.verb} · {nouns[1]}?"),
        ("track", (track,), f"Does the mask of {track} stay on {instances[track].noun} to the end?"),
    )
    return [
        Question(
            number=first + n, kind=kind, clip=shown.clip, stratum=stratum, ids=ids, text=text, frame=frames[ids[0]]
        )
        for n, (kind, ids, text) in enumerate(asked)
    ]


class Answers:
    """The audit's folder."""

    def __init__(self, folder: Path, queue: Queue, sample: int, seed: int) -> None:
        """Drawn at first, and found again. UserError where the folder holds the audit of another build."""
        self.folder, self._lock = folder, threading.Lock()
        self.dataset = queue.build.dataset
        fingerprint = queue.build.fingerprints["curate"]
        try:
            self.audit = Audit.model_validate_json((folder / "audit.json").read_bytes())
        except FileNotFoundError:
            drawn, strata = draw({item.clip: item.doubt for item in queue.items.values()}, sample, seed)
            questions: list[Question] = []
            for clip, stratum in drawn:
                questions += questions_of(queue.clip(clip), stratum, seed, len(questions))
            self.audit = Audit(seed=seed, fingerprint=fingerprint, strata=strata, questions=tuple(questions))
            make_folder(folder)
            (folder / "audit.json").write_text(self.audit.model_dump_json(indent=1))
        except ValueError:
            raise UserError(f"{folder}/audit.json is damaged: give another --out") from None
        if self.audit.fingerprint != fingerprint:
            raise UserError(f"{folder} holds the audit of another build: give another --out")

    def all(self) -> dict[int, bool]:
        """By number of the question. A line that a killed process left half is none."""
        path = self.folder / "answers.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return dict(json.loads(line) for line in lines if line.endswith("]\n"))

    def put(self, number: int, yes: bool) -> None:
        """On the disk when it returns."""
        with self._lock:
            with (self.folder / "answers.jsonl").open("a+") as stream:
                stream.seek(0)
                torn = not ("\n" + stream.read()).endswith("\n")
                stream.write(("\n" if torn else "") + json.dumps([number, yes]) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            self._tell(self.all())

    def _tell(self, said: dict[int, bool]) -> None:
        """The figures for people, for programs, and on the card of the dataset, where there is one."""
        (self.folder / "audit.md").write_text(table(self.audit, said))
        found = figures(self.audit, said)
        data = (json.dumps(found, indent=1) + "\n").encode()
        (self.folder / FIGURES).write_bytes(data)
        if account := read_dataset(self.dataset):
            self.dataset.write(AUDIT_FILE, data)
            self.dataset.write(CARD_FILE, card(account, found))


def create_app(build: Build, folder: Path, sample: int, seed: int, hosts: tuple[str, ...] = LOOPBACK) -> FastAPI:
    """The app over one build and one audit of it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_middleware(Guard, hosts=hosts)
    tell_failures(app)
    queue = Queue(build, Journal(build.work))
    answers, csrf = Answers(folder, queue, sample, seed), secrets.token_urlsafe(24)

    def shown(clip: str) -> Reviewable:
        try:
            return queue.clip(clip)
        except KeyError:
            raise HTTPException(404, "there is no such clip") from None

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(PAGES.get_template("audit.html.j2").render(session=None, csrf=csrf))

    @app.get("/api/next")
    def following() -> dict[str, Any]:
        said = answers.all()
        left = [q for q in answers.audit.questions if q.number not in said]
        return {
            "question": left[0].model_dump(mode="json") if left else None,
            "done": len(said), "of": len(answers.audit.questions), "table": table(answers.audit, said),
        }  # fmt: skip

    @app.post("/api/answer")
    def answer(request: Request, number: Annotated[int, Body(ge=0)], yes: Annotated[bool, Body()]) -> dict[str, Any]:
        same_origin(request)
        if not hmac.compare_digest(request.headers.get(CSRF, "").encode(), csrf.encode()):
            raise HTTPException(403, "this request did not come from our page")
        if number >= len(answers.audit.questions):
            raise HTTPException(404, "there is no such question")
        answers.put(number, yes)
        return following()

    @app.get("/api/clip/{clip}")
    def clip_json(clip: ClipName) -> JSONResponse:
        return JSONResponse(as_json(shown(clip), State()))

    @app.get("/media/{clip}.mp4")
    def media(clip: ClipName) -> FileResponse:
        return FileResponse(build.work.path(shown(clip).case.clip.path), media_type="video/mp4")

    @app.get("/favicon.ico")
    def no_icon() -> Response:
        return Response(status_code=204)

    return app
