"""A whole build with every real engine at tiny random size, by the command line: every clip ends, with a reason or not.

Detector and tracker are the real classes with small random weights, loaded by path as a user's are. The language model
and the verifier are the clients of a server on loopback, which reads captions as the embedded language model does and
takes two of three boxes, so that clips come as far as the tracker; or all of it is in this process, of random weights
that make nothing of a caption.
"""

import asyncio
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from flows.cli.base import NOTHING
from flows.opened import context_of
from tasks.engines.base import Message
from tasks.engines.embedded.language import EmbeddedLanguage
from tasks.engines.replies import CountReply, DescribeReply, ScoreReply, TripletsReply
from tasks.world import render_bucket
from tests.flows.building import sidecar
from tests.tasks.engines import tiny_dino, tiny_sam2
from tests.tasks.engines.served import tiny_vlm
from tests.tasks.engines.served.fault_server import Asked, FaultServer, Told, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first of them also renders, and starts a server

REPLIES = {"count": CountReply, "triplets": TripletsReply, "score": ScoreReply, "describe": DescribeReply}

REASONS = {
    "scan": {"empty_file"},
    "caption": {"no_interaction", "filtered"},
    "propose": {"ungrounded"},
    "verify": {"ungrounded"},
    "track": {"lost"},
    "curate": {"bad_tracks"},
}
"""How files and clips of the bucket may end, whatever the weights; elsewhere all must pass."""

FEW = {"max_verdicts_per_id": 1}
"""Of a verifier of random weights, whose every answer takes its time."""

CLIPS = {"height": 128, "width": 192, "frames": 9, "fps": 3.0}


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    """Three plain videos and a file without a byte."""
    folder = tmp_path_factory.mktemp("few") / "world"
    render_bucket(folder, videos=3, seed=4, level="plain", broken=False)
    (folder / "raw" / "nothing.mp4").touch()
    return folder


def answer(asked: Asked) -> Told:
    document = asked.document
    if asked.turn not in REPLIES:  # the verifier
        refused = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()[0] % 3 == 0
        who = None if refused else document["candidates"][0]["id"]
        reply = {"assigned_id": who, "confidence": 0.9, "rationale": "Scripted.", "nonce": document["nonce"]}
        return said(json.dumps(reply))
    message = Message("user", json.dumps(document))
    return said(asyncio.run(EmbeddedLanguage().ask([message], REPLIES[asked.turn])).model_dump_json())


def in_process(folder: Path, **options: object) -> dict[str, object]:
    """An engine over a vision-language model of random weights, whose tokens are bytes."""
    if not folder.exists():
        tiny_vlm.save_tiny(folder, seed=2)
    return {"name": "transformers", "options": {"checkpoint": str(folder), "max_tokens": 200, "batch": 8, **options}}


@pytest.mark.parametrize(
    ("detector", "tracker", "verifier"),
    [
        ("groundingdino", "sam2", "server"),
        ("transformers", "transformers", "server"),
        ("mm", "sam3", "server"),
        ("transformers", "transformers", "in process"),  # as the laptop profile has them
    ],
)
def test_a_build_with_tiny_real_engines_accounts_for_every_clip(
    matrix_data, few, tmp_path, detector, tracker, verifier
):
    dino = tiny_dino.save_tiny(tmp_path / "dino", detector, 1)
    apart = verifier == "in process"
    with FaultServer(lambda asked: asyncio.to_thread(answer, asked)) as server:
        served = {"name": "openai", "options": {"base_url": server.url}}
        engines = {
            "language": served,
            "verifier": in_process(tmp_path / "vlm", max_asks=1, frame_side=96, crop_side=64) if apart else served,
            # Random weights are sure of nothing.
            "detector": {"name": "grounding_dino", "options": dino | {"box_threshold": 0.2, "text_threshold": 0.1}},
            "tracker": {"name": "sam2", "options": tiny_sam2.save_tiny(tmp_path / "sam2", tracker, 1)},
        }
        profile, out = tmp_path / "tiny.yaml", tmp_path / "out"
        profile.write_text(
            yaml.safe_dump(
                {"ingest": CLIPS, "engines": engines, "verify": FEW if apart else {}, "run": {"stage_by_stage": apart}}
            )
        )
        ended = matrix_data(
            "build", few / "raw", "--captions", sidecar(few), "--out", out, "--profile", profile, "--json"
        )
        turns = Counter(asked.turn for asked in server.asked)

    assert ended.code in (0, NOTHING), ended.errors
    result = ended.json
    assert (result["dataset"] is None) == (ended.code == NOTHING)
    assert result["pending"] == 0
    funnel = result["funnel"]
    assert funnel["scan"]["in"] == 4
    for stage, line in funnel.items():
        assert line["in"] == line["accepted"] + sum(line["rejected"].values()), stage
        assert set(line["rejected"]) <= REASONS.get(stage, set()), (stage, line)
    # The real models were asked, and every answer was told to be what it is.
    assert turns["count"] - 1 == funnel["caption"]["in"] >= 3  # one question was the engine's own check
    assert (sum(n for turn, n in turns.items() if turn not in REPLIES) > 0) is not apart
    assert funnel["track"]["in"] == funnel["verify"]["accepted"] >= (0 if apart else 1)  # random weights accept nothing
    assert funnel["verify"]["in"] >= 1

    build = context_of(str(out))
    kept = [name for name, _ in build.folder.walk("replies")]
    assert kept == ["caption/00000/live.sqlite", "verify/00000/live.sqlite"]
    assert {stage: build.survey().tally(stage).usage is not None for stage in ("caption", "verify", "track")} == {
        "caption": True, "verify": True, "track": False,
    }  # fmt: skip
    for store in map(build.store, ("propose", "verify", "track", "curate")):
        assert all(row.detail for row in store.read(list(store.rejected())))


def test_a_build_whose_every_word_is_of_random_weights_in_this_process_ends_with_reasons(matrix_data, few, tmp_path):
    """Captions and answers have the right form and say nothing: each clip ends at `caption`, and says why."""
    engines = {
        "language": in_process(tmp_path / "vlm"),
        "captioner": in_process(tmp_path / "vlm", sheet=4, max_asks=1, frame_side=96),
    }
    stages = {"select": {"allow_uncaptioned": True}, "caption": {"max_asks": 1, "captioner_frames": 4}}
    profile = tmp_path / "tiny.yaml"
    profile.write_text(yaml.safe_dump({"ingest": CLIPS, "engines": engines, **stages}))
    ended = matrix_data("build", few / "raw", "--out", tmp_path / "out", "--profile", profile, "--json")
    assert ended.code == NOTHING, ended.errors
    line = ended.json["funnel"]["caption"]
    assert ended.json["pending"] == 0 and line["in"] >= 3 == 3 + line["accepted"]
    assert set(line["rejected"]) <= {"bad_reply", "no_interaction", "filtered"}
    assert line["in"] == sum(line["rejected"].values())
    build = context_of(str(tmp_path / "out"))
    usage = build.survey().tally("caption").usage
    assert usage.requests >= line["in"] and usage.completion_tokens > 0
