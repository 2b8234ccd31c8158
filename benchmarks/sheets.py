"""Describing a clip from single frames and from contact sheets, in calls and tokens: `python -m benchmarks.sheets`.

The captioner is the real client of a scripted server on loopback; frames are noise of 480 × 720. Tokens are counted in
what the server gets: 28 x 28 pixels of an image are one, four characters of text one.
"""

import asyncio
import base64
import io
import json
import tempfile

import numpy as np
from PIL import Image

from tasks.engines.served.captioner import ServedCaptioner
from tasks.store.folder import Folder
from tests.tasks.engines.served.fault_server import Asked, FaultServer, Told, said

CLIPS, FRAMES, HEIGHT, WIDTH = 8, 8, 480, 720


async def answer(asked: Asked) -> Told:
    return said(json.dumps({"nonce": asked.document["nonce"], "caption": "A man in a red shirt kicks a blue ball."}))


def image_tokens(asked: Asked) -> list[float]:
    urls = [part["image_url"]["url"] for part in asked.parts if part["type"] == "image_url"]
    sizes = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size for url in urls]
    return [width * height / 28**2 for width, height in sizes]


def text_tokens(asked: Asked) -> float:
    texts = [part["text"] for part in asked.parts if part["type"] == "text"]
    return sum(map(len, [asked.body["messages"][0]["content"], *texts])) / 4


def main() -> None:
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (CLIPS, FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    times = [0.75 * k for k in range(FRAMES)]
    figures = {}
    for sheet in (1, 4, 9):
        with FaultServer(answer) as server, tempfile.TemporaryDirectory() as folder:
            captioner = ServedCaptioner(ServedCaptioner.Options(base_url=server.url, sheet=sheet), Folder(folder))
            for frames in clips:
                asyncio.run(captioner.describe(frames, times))
            captioner.close()
            images = [tokens for asked in server.asked for tokens in image_tokens(asked)]
            figures[sheet] = {
                "requests_a_clip": len(server.asked) / CLIPS, "images_a_clip": len(images) / CLIPS,
                "image_tokens_a_clip": round(sum(images) / CLIPS),
                "text_tokens_a_clip": round(sum(map(text_tokens, server.asked)) / CLIPS),
            }  # fmt: skip
        print(f"frames a sheet {sheet}: {json.dumps(figures[sheet])}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
