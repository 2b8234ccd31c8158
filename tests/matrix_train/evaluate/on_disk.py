"""Videos, prompts, tracks and ID maps of the made-up push on disk, and a scripted server that judges them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from rich.console import Console

from matrix_train.cli.evaluate import Request, evaluate_command
from matrix_train.evaluate.checked import bias
from matrix_train.evaluate.judge.by_truth import prompt_of
from schemas.idmap import encode_id_map, id_map
from schemas.rle import fill, run_lengths
from tasks.engines import registry
from tests.matrix_train.evaluate.made_up import BOX, FRAMES, HEIGHT, MAN, WIDTH, pushed
from tests.tasks.engines.served.fault_server import Asked, FaultServer, Told, said

COLOURS = {MAN: (200, 40, 40), BOX: (40, 60, 200)}
NAMES = ("a.mp4", "b.mp4")


def write_video(path: Path, frames: int = FRAMES, ground: int = 120) -> None:
    """The push, as plain blocks before a grey wall."""
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = pushed()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 2_000_000
        for frame in range(frames):
            picture = np.full((HEIGHT, WIDTH, 3), ground, np.uint8)
            for i in truth.instances:
                picture[fill(run_lengths(i.masks[frame] or "", HEIGHT, WIDTH), HEIGHT, WIDTH)] = COLOURS[i.id]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def write_prompts(path: Path, **more: Any) -> None:
    lines = [prompt_of(pushed()).model_copy(update={"video": name, **more}).model_dump_json() for name in NAMES]
    path.write_text("\n".join(lines))


def lay(folder: Path) -> Path:
    """Two videos below v/, their prompts, tracks and ID map."""
    (folder / "v").mkdir()
    for name, ground in zip(NAMES, (120, 90), strict=True):
        write_video(folder / "v" / name, ground=ground)
    size, truth = [HEIGHT, WIDTH], pushed()
    tracks = {i.id: [rle and {"size": size, "counts": rle} for rle in i.masks] for i in truth.instances}
    (folder / "t.tracks.json").write_text(json.dumps({"size": size, "tracks": tracks}))
    first = {i.id: fill(run_lengths(i.masks[0] or "", HEIGHT, WIDTH), HEIGHT, WIDTH) for i in truth.instances}
    (folder / "t.png").write_bytes(encode_id_map(id_map(first, HEIGHT, WIDTH)))
    write_prompts(folder / "p.jsonl", tracks="t.tracks.json")
    return folder


Script = Callable[[Asked], Told]


def nothing(asked: Asked) -> dict[str, list[int]]:
    """What emerges and disappears, by kind the frames."""
    return {}


def judging(
    says_yes: Callable[[Asked, int], bool], changes: Callable[[Asked], dict[str, list[int]]] = nothing
) -> Script:
    """A model that answers a question by its number, and sees what emerges and disappears."""

    def answer(asked: Asked) -> Told:
        document = asked.document
        if "questions" in document:
            answers = [
                {"question_id": q, "answer": "yes", "frame_index": 5}
                if says_yes(asked, q)
                else {"question_id": q, "answer": "no", "frame_index": None}
                for q in range(1, 11)
            ]
            return said(json.dumps({"nonce": document["nonce"], "answers": answers}))
        seen = changes(asked)
        frames = [
            {"frame_index": f} | {kind: "yes" if f in seen.get(kind, ()) else "no" for kind in bias.CHECKS}
            for f in document["frames"][1:]
        ]
        told = {"nonce": document["nonce"], "frames": frames, "emergence_reason": "", "disappearance_reason": ""}
        return said(json.dumps(told))

    return answer


good = judging(lambda asked, question: True)


def profile(place: Path, server: FaultServer) -> str:
    engine = {"name": "openai", "options": {"base_url": server.url, "retries": 1, "breaker_after": 1}}
    (place / "profile.yaml").write_text(json.dumps({"engines": {"verifier": engine}}))
    return str(place / "profile.yaml")


def engine_again() -> None:
    """As in a new process: engines are shared within one, and a broken one stays so."""
    registry._loaded.clear()


def run(place: Path, judge: str, profile: str | None = None, **more: Any) -> dict[str, Any]:
    """The command over v/ and p.jsonl, into e/."""
    asked = Request(place / "e", judge, None, place / "p.jsonl", profile, **more)
    return evaluate_command([place / "v"], asked, Console(quiet=True))
