"""The explore server: one finished dataset, or two side by side. Read-only, for loopback, so without accounts."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, get_args

import av
import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

from schemas import Sample, TrackFile
from schemas.labels import Said
from schemas.palette import css
from schemas.text import one_line
from tasks.dataset.reader import DatasetError
from web.failing import tell_failures
from web.guard import Guard
from web.review import HERE, PAGES
from web.samples import Samples, Sort, Wanted
from web.serve import LOOPBACK
from web.shown import THUMB_WIDTH, curves, thumb_of, words

PAGE = 24

Which = Annotated[str, InPath(pattern=r"^[ab]$")]
Key = Annotated[str, InPath(pattern=r"^[0-9a-f]{16}$")]


def create_app(datasets: list[Samples], hosts: tuple[str, ...] = LOOPBACK) -> FastAPI:
    """The app over one dataset or two."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_middleware(Guard, hosts=hosts)
    tell_failures(app)
    sides = dict(zip("ab", datasets, strict=False))

    def side(which: str) -> Samples:
        if which not in sides:
            raise HTTPException(404, "there is no second dataset")
        return sides[which]

    @lru_cache(maxsize=32)
    def mp4(which: str, key: str) -> bytes:
        try:
            return side(which).mp4(key)
        except KeyError:
            raise HTTPException(404, "there is no such sample") from None

    @lru_cache(maxsize=1024)
    def picture(which: str, key: str) -> bytes:
        try:
            return thumb_of(*side(which).first(key))
        except KeyError:
            raise HTTPException(404, "there is no such sample") from None
        except (av.FFmpegError, IndexError, ValueError) as error:  # IndexError: no video in it
            raise DatasetError(f"sample {key} is damaged: {one_line(error)}; see `matrix_data verify`") from None

    @app.get("/")
    def results(request: Request, wanted: Annotated[Wanted, Query()]) -> HTMLResponse:
        start = wanted.start
        shown: list[dict[str, Any]] = []
        for which, samples in sides.items():
            places = samples.find(wanted)
            some = samples.rows(places[start : start + PAGE])
            name = Path(samples.folder.uri).name
            shown.append({"which": which, "name": name, "total": len(places), "of": len(samples), "rows": some,
                          "counts": samples.counts(places)})  # fmt: skip

        def link(**more: Any) -> str:
            """This page with some of its filters changed; what is asked for already is let go."""
            asked = dict(request.query_params) | {"start": "0"}
            for key, value in more.items():
                asked[key] = "" if asked.get(key) == str(value) and key != "start" else str(value)
            return str(request.url.replace(query="").include_query_params(**{k: v for k, v in asked.items() if v}))

        page = PAGES.get_template("explore.html.j2")
        return HTMLResponse(
            page.render(
                session=None,
                sides=shown,
                wanted=wanted,
                start=start,
                size=PAGE,
                sorts=get_args(Sort),
                link=link,
                wide=THUMB_WIDTH,
            )
        )

    @app.get("/{which}/sample/{key}")
    def sample_page(which: Which, key: Key) -> HTMLResponse:
        samples = side(which)
        try:
            row = samples.row(key)
        except KeyError:
            raise HTTPException(404, "there is no such sample") from None
        kin = samples.rows(samples.find(Wanted(group=row.group)))
        page = PAGES.get_template("sample.html.j2")
        people = ("dropped" if key in samples.labels.dropped else "kept") if key in samples.labels else ""
        kin = [k for k in kin if k.key != key][:50]
        return HTMLResponse(page.render(session=None, which=which, row=row, kin=kin, people=people))

    @app.get("/{which}/api/{key}")
    def sample_json(which: Which, key: Key) -> dict[str, Any]:
        try:
            return as_json(*side(which).entry(key))
        except KeyError:
            raise HTTPException(404, "there is no such sample") from None

    @app.get("/{which}/thumb/{key}.jpg")
    def thumb(which: Which, key: Key) -> Response:
        return Response(picture(which, key), media_type="image/jpeg")

    @app.get("/{which}/media/{key}.mp4")
    def media(which: Which, key: Key, request: Request) -> Response:
        return ranged(mp4(which, key), request.headers.get("range", ""), "video/mp4")

    @app.get("/favicon.ico")
    def no_icon() -> Response:
        return Response(status_code=204)

    return app


def ranged(data: bytes, wanted: str, kind: str) -> Response:
    """The bytes that a Range header asks for; all of them where it asks for none that we know."""
    headers = {"accept-ranges": "bytes", "cache-control": "private, max-age=3600"}
    found = re.fullmatch(r"bytes=(\d{1,15})-(\d{0,15})", wanted)
    if not found:
        return Response(data, media_type=kind, headers=headers)
    first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
    if first > last:
        return Response(status_code=416, headers={"content-range": f"bytes */{len(data)}"})
    headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, headers, kind)


def as_json(sample: Sample, tracks: TrackFile, labels: Said) -> dict[str, Any]:
    """A sample as the page's script takes it, with who said what of its tracks; labels: what was said since."""
    nouns = {i.id: i for i in sample.instances}
    numbers = {n.id: n for n in sample.numbers}
    said = {r.id: f"{r.decision} by {r.by}" for r in sample.review}
    said |= {one.id: f"{one.decision} {one.reason} by {one.by}".replace("  ", " ") for one in labels}
    shown: list[dict[str, Any]] = []
    for name, masks in tracks.tracks.items():
        counts = tuple(m.counts if m else None for m in masks)
        shown.append(
            {
                "id": name, "noun": nouns[name].noun, "cls": nouns[name].cls, "app": nouns[name].app,
                "colour": css(name), "masks": counts, "locked": [],
                "numbers": numbers[name].words() if name in numbers else [],
                "curves": curves(counts, (), tracks.size),
                "decision": None, "review": said.get(name, ""),
            }
        )  # fmt: skip
    return {
        "clip": sample.clip_id, "width": sample.width, "height": sample.height, "frames": sample.frames,
        "fps": sample.fps, "tracks": shown, **words(sample.caption, sample.interactions),
        "shown": np.linspace(0, sample.frames - 1, 10).round().astype(int).tolist(),
    }  # fmt: skip
