"""Verdict requests a clip, box by box and with several boxes a request: `python -m benchmarks.verdicts --videos 64`.

Renders `plain` videos, ingests and captions them once. A detector that knows the truth proposes boxes, as it sees them
and with a share of boxes swapped; the verifier is the real client of a scripted server on loopback, which answers by
the truth. Both ways must end in the same anchors. Requests and tokens are those that the client counts; a token of an
image is 28 x 28 pixels, as the scripted server reckons them, a token of text four characters.
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from flows.settings import BuildSettings
from tasks.engines.asking import make_nonce
from tasks.engines.base import VerdictReply, VerifyRequest
from tasks.engines.served.verifier import ServedVerifier
from tasks.engines.verifying import digest_of_one, digest_of_several
from tasks.store.folder import Folder
from tasks.world import render_bucket
from tests.tasks.engines.perfect.models import Dial, PerfectVerifier
from tests.tasks.engines.perfect.running import World
from tests.tasks.engines.served.fault_server import Asked, FaultServer, Told, said

BAR = 0.5


class Knowing(ServedVerifier):
    """Tells the script what is true before it asks the server, by the nonce of the question."""

    script: dict[str, list[VerdictReply]]
    truth: PerfectVerifier

    async def verify(self, request: VerifyRequest) -> VerdictReply:
        nonce = make_nonce(digest_of_one(request), "verify", 0)
        self.script[nonce] = [await self.truth.verify(request)]
        return await super().verify(request)

    async def verify_several(self, requests: Any) -> list[VerdictReply]:
        nonce = make_nonce(digest_of_several(requests), "verify several", 0)
        self.script[nonce] = [await self.truth.verify(request) for request in requests]
        return await super().verify_several(requests)


def answer(asked: Asked, script: dict[str, list[VerdictReply]]) -> Told:
    nonce = asked.document["nonce"]
    told = [reply.model_dump() for reply in script[nonce]]
    if "boxes" in asked.document:
        return said(json.dumps({"nonce": nonce, "boxes": [{"box": k, **one} for k, one in enumerate(told, 1)]}))
    return said(json.dumps({"nonce": nonce, **told[0]}))


def run(world: World, folder: Path, several: int, dial: Dial) -> dict[str, Any]:
    """Each run is of a model of its own, so that none is answered out of the replies of another."""
    script: dict[str, list[VerdictReply]] = {}
    with FaultServer(lambda asked: asyncio.to_thread(answer, asked, script)) as server:
        verifier = Knowing(
            Knowing.Options(base_url=server.url, several=several, revision=f"{several} {dial}"),
            Folder(str(folder / "own")),
        )
        verifier.script, verifier.truth = script, PerfectVerifier(world.oracle)
        build = world.go(dial, verifier, stages=("propose", "verify"))
        requests = len(server.asked)
        images = sum(part["type"] == "image_url" for asked in server.asked for part in asked.parts)
        letters = sum(len(part["text"]) for asked in server.asked for part in asked.parts if part["type"] == "text")
        prompts = sum(len(asked.body["messages"][0]["content"]) for asked in server.asked)
        verifier.close()
    store = build.store("verify")
    anchors = {row.key: row.payload.anchors for row in store.read(store.accepted())}
    clips = len(build.store("propose").accepted())
    return {
        "requests_a_clip": round(requests / clips, 2), "images_a_clip": round(images / clips, 2),
        "text_tokens_a_clip": round((letters + prompts) / 4 / clips), "clips": clips, "anchors": anchors,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--seed", type=int, default=820_000)
    parser.add_argument("--several", type=int, nargs="+", default=[3, 4, 8])
    given = parser.parse_args()
    figures: dict[str, Any] = {"videos": given.videos, "several": given.several, "bar": BAR}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render_bucket(folder / "world", videos=given.videos, seed=given.seed, level="plain", broken=False, workers=2)
        raw = folder / "world"
        settings = BuildSettings(source=str(raw / "raw"), captions=str(raw / "captions.csv"), out=str(folder / "out"))
        world = World(raw, settings)
        world.begin()
        for title, dial in (("all boxes right", Dial()), ("30 % swapped", Dial(swapped=0.3))):
            one = run(world, folder, 1, dial)
            wanted, figures[title] = one.pop("anchors"), {1: one}
            print(f"{title}, box by box: {json.dumps(one)}", flush=True)
            for several in given.several:
                many = run(world, folder, several, dial)
                many["same_anchors"] = many.pop("anchors") == wanted
                many["ratio"] = round(many["requests_a_clip"] / one["requests_a_clip"], 3)
                figures[title][several] = many
                print(f"{title}, up to {several}: {json.dumps(many)}", flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
