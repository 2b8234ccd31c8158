"""The pages for people under load, on loopback over real sockets.

    python -m benchmarks.people [--reviewers 20] [--clips 500] [--think 1] [--samples 100000]

Review: so many people at once, each deciding on clips until all are done; seconds a decision, and whether any was lost.
Explore: an index of so many samples opened, searched and shown.
"""

import argparse
import hashlib
import json
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.setting.rows import key_of
from schemas.dataset import DATASET_FILE, INDEX_FILE, DatasetFile
from tasks.dataset.reader import index_rows
from tasks.store.folder import Folder
from tests.builders import encode_index, make_case, make_dataset
from tests.web.browser import served
from tests.web.places import Place
from web.explore import create_app
from web.samples import Samples


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    return {f"p{q}": round(1000 * float(np.percentile(seconds, q)), 1) for q in (50, 95, 100)}


def review(root: Path, reviewers: int, clips: int, think: float) -> dict[str, object]:
    """Everybody takes the next clip, decides on its three tracks, finishes, until nothing is left."""
    place = Place(root, clips=clips, frames=5)
    tokens = [place.journal.invite(f"u{n}", "reviewer") for n in range(reviewers)]
    took: dict[str, list[float]] = {"next": [], "clip": [], "patch": []}
    problems: list[str] = []

    with served(place.app) as url:

        def work(token: str) -> None:
            with httpx.Client(base_url=url, timeout=60) as client:
                client.post("/login", content=f"token={token}")
                page = client.get("/people").text
                client.headers["x-csrf"] = page.split('name="csrf" content="')[1].split('"')[0]

                def timed(kind: str, method: str, path: str, body: object = None) -> httpx.Response:
                    began = time.perf_counter()
                    answer = client.request(method, path, json=body)
                    took[kind].append(time.perf_counter() - began)
                    return answer

                while (clip := timed("next", "GET", "/next").headers["location"]).startswith("/clip/"):
                    key = clip.removeprefix("/clip/")
                    found = timed("clip", "GET", f"/api/clip/{key}").json()
                    ops = [{"op": "decide", "id": t["id"], "decision": "accept"} for t in found["tracks"]]
                    seq = found["seq"]
                    for op in [*ops, {"op": "finish"}]:
                        time.sleep(think)
                        answer = timed("patch", "POST", f"/api/clip/{key}/patch", {"seen": seq, "op": op})
                        if answer.status_code != 200:
                            problems.append(answer.text)
                            break
                        seq += 1

        began = time.perf_counter()
        threads = [threading.Thread(target=work, args=(token,)) for token in tokens]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - began
    stored = len(place.journal.times())
    place.journal.close()
    return {
        "reviewers": reviewers, "decisions": len(took["patch"]), "stored": stored, "problems": problems[:3],
        "seconds": round(wall, 1), "ms": {kind: quantiles(some) for kind, some in took.items()},
    }  # fmt: skip


def explore(root: Path, samples: int) -> dict[str, object]:
    """An index of many samples, whose entries are those of a few real ones."""
    cases = [make_case(Folder(str(root / "work")), seed, things=1 + seed % 3, frames=49, height=480, width=720)
             for seed in range(12)]  # fmt: skip
    folder = make_dataset(root, cases)
    account = DatasetFile.model_validate_json(folder.read(DATASET_FILE))
    with folder.open(INDEX_FILE) as stream:
        real = list(index_rows(stream))
    rows = [real[n % len(real)].model_copy(update={"key": key_of("sample", n)}) for n in range(samples)]
    rows[: len(real)] = real
    data = encode_index(rows)
    folder.write(INDEX_FILE, data)
    changed = account.model_copy(update={"index_sha256": hashlib.sha256(data).hexdigest()})
    folder.write(DATASET_FILE, changed.model_dump_json().encode())
    began = time.perf_counter()
    opened = Samples(folder)
    took: dict[str, object] = {"open_s": round(time.perf_counter() - began, 2)}
    pages: list[float] = []
    clips: list[float] = []
    pictures: list[float] = []
    with served(create_app([opened], ("127.0.0.1",))) as url, httpx.Client(base_url=url, timeout=60) as client:
        asked = [{}, {"text": "red"}, {"verb": "lifts"}, {"contact": 5, "dynamism": 3}, {"sort": "caption"},
                 {"sort": "size", "down": "true"}, {"ids": 3, "noun": "ball"}, {"start": 90_000}]  # fmt: skip
        for given in asked * 5:
            began = time.perf_counter()
            assert client.get("/", params=given).status_code == 200
            pages.append(time.perf_counter() - began)
        for row in real:
            began = time.perf_counter()
            client.get(f"/a/api/{row.key}").json()
            assert client.get(f"/a/media/{row.key}.mp4").status_code == 200
            clips.append(time.perf_counter() - began)
            began = time.perf_counter()
            assert client.get(f"/a/thumb/{row.key}.jpg").status_code == 200
            pictures.append(time.perf_counter() - began)
    took |= {"samples": samples, "page_ms": quantiles(pages), "clip_ms": quantiles(clips)}
    return took | {"picture_ms": quantiles(pictures)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviewers", type=int, default=20)
    parser.add_argument("--clips", type=int, default=500, help="four patches each")
    parser.add_argument("--think", type=float, default=1.0, help="seconds that a person takes for a decision")
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--folder", default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = {
            "explore": explore(Path(folder) / "explore", given.samples),
            "review": review(Path(folder) / "review", given.reviewers, given.clips, given.think),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
