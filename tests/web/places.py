"""A small store of curated clips as a build leaves it, and people who are logged in to the pages over it."""

import json
from collections.abc import Callable
from pathlib import Path

from fastapi.testclient import TestClient

from flows.context import Context
from flows.opened import open_build
from flows.settings import BuildSettings
from schemas import Captioned, Curated, Deduped, Proposed, Row, Status, Tracked, Verified
from tasks.outcome import Case
from tasks.review.journal import Journal, Role
from tasks.review.stage import ReviewSettings
from tasks.review.words import Reviewable
from tests.builders import make_case
from web.review import create_app
from web.store import Build

CHUNK = "00000"
STAGES = {
    "dedupe": Deduped, "caption": Captioned, "propose": Proposed, "verify": Verified, "track": Tracked,
    "curate": Curated,
}  # fmt: skip


class Place:
    """An out folder with `clips` curated clips, and the review app over it."""

    def __init__(
        self, root: Path, clips: int = 4, second_share: float = 0.0, plant: Callable[[int, Case], Case] | None = None,
        wait: float = 0.0, **how: int | str,
    ):  # fmt: skip
        """plant: puts a fault into the tracks of a clip, by its number; how: what `make_case` takes."""
        review = ReviewSettings(second_share=second_share, wait=wait)
        self.out = str(root / "out")
        self.context: Context = open_build(BuildSettings(source=str(root / "raw"), out=self.out, review=review))
        self.cases: dict[str, Case] = {}
        for seed in range(clips):
            case = make_case(self.context.folder, seed, **{"frames": 9, "things": 2, **how})  # type: ignore[arg-type]
            self.cases[case.clip.clip_id] = plant(seed, case) if plant else case
        self.keys = sorted(self.cases)
        for stage, kind in STAGES.items():
            rows = [Row(key=k, status=Status.ACCEPTED, payload=c.of(kind)) for k, c in self.cases.items()]
            with self.context.lease(stage, CHUNK):
                self.context.open(stage, CHUNK).write(rows)
        self.journal = Journal(self.context.folder)
        self.app = create_app(Build(self.out), self.journal, ("testserver", "127.0.0.1"))

    def shown(self, clip: str) -> Reviewable:
        return Reviewable(self.cases[clip])

    def person(self, name: str, role: Role = "reviewer") -> "Person":
        return Person(self, name, self.journal.invite(name, role))


class Person:
    """Somebody with a browser, without a screen."""

    def __init__(self, place: Place, name: str, token: str):
        self.place, self.name, self.token = place, name, token
        self.client = TestClient(place.app, follow_redirects=False, raise_server_exceptions=True)
        answer = self.client.post("/login", data=None, content=f"token={token}")
        assert answer.status_code == 303, answer.text
        page = self.client.get("/").text
        self.csrf = page.split('name="csrf" content="')[1].split('"')[0]

    def post(self, path: str, body: object | None = None, **headers: str):
        return self.client.post(path, content=json.dumps(body or {}), headers={
            "x-csrf": self.csrf, "content-type": "application/json", **headers})  # fmt: skip

    def see(self, clip: str) -> dict:
        return self.client.get(f"/api/clip/{clip}").json()

    def claim(self, clip: str):
        return self.post(f"/api/clip/{clip}/claim")

    def patch(self, clip: str, op: dict, seen: int | None = None):
        at = self.see(clip)["seq"] if seen is None else seen
        return self.post(f"/api/clip/{clip}/patch", {"seen": at, "op": op})

    def judge(self, clip: str, **ends: str):
        """Claim, decide on every track, and finish. `ends` by ID; all others are accepted."""
        self.claim(clip)
        for track in self.see(clip)["tracks"]:
            end = ends.get(track["id"], "accept")
            said = {"op": "decide", "id": track["id"], "decision": end, "reason": "drift" if end != "accept" else ""}
            assert self.patch(clip, said).status_code == 200
        return self.patch(clip, {"op": "finish"})
