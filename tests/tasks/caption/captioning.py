"""Cases with a caption and a language model that answers from a script, for the tests of stage `caption`."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from schemas import Clip, Geometry, MediaFacts, SourceVideo, Window
from schemas.truth import TrueInstance, TrueTriplet, VideoTruth
from tasks.engines.base import BadReply, Message, Reply
from tasks.engines.replies import CountReply, DescribeReply, ScoreReply, TripletsReply
from tasks.outcome import Case
from tasks.world.captions import write_caption
from tasks.world.plots import make_plot

CAPTION = "A man in a red shirt kicks a blue ball. The dog chases the ball."
TURNS = {CountReply: "count", TripletsReply: "triplets", ScoreReply: "score", DescribeReply: "describe"}


def make_case(number: int, caption: str | None) -> Case:
    """A clip that nothing but its caption is read of."""
    key, digest = f"{number:016x}", f"{number:064x}"
    source = SourceVideo(source_id=key, uris=("a.mp4",), digest=digest, size_bytes=1, caption=caption, dataset="test")
    facts = MediaFacts(
        container="mp4", codec="h264", pixel_format="yuv420p", width=64, height=48, rotation=0, fps=8.0,
        duration_s=1.0, frames=8, has_audio=False,
    )  # fmt: skip
    clip = Clip(
        clip_id=key, source=source, facts=facts, media_digest=digest, width=64, height=48, frames=8, fps=8.0, phash=(),
        window=Window(scene=0, index=0, source_frames=tuple(range(8)), start_s=0.0, end_s=1.0), path="a.mp4",
        geometry=Geometry(source_width=64, source_height=48, scale=1.0, offset_x=0.0, offset_y=0.0),
    )  # fmt: skip
    return Case(clip=clip)


def good_answer(turn: str, document: dict[str, Any]) -> dict[str, Any]:
    """What a capable model says to `CAPTION`: two triplets over three IDs."""
    first, second = document["caption"].split(". ")
    answers: dict[str, dict[str, Any]] = {
        "count": {"count": 2},
        "triplets": {
            "entities": [
                {"id": "id1", "phrase": "A man in a red shirt"},
                {"id": "id2", "phrase": "a blue ball"},
                {"id": "id3", "phrase": "The dog"},
            ],
            "triplets": [
                {"interaction": "<id1> kicks <id2>", "src1": "id1", "tgt1": "id2",
                 "type": "functional action based interaction", "source_sentence": first + "."},
                {"interaction": "<id3> chases <id2>", "src1": "id3", "tgt1": "id2",
                 "type": "functional action based interaction", "source_sentence": second},
            ],
        },
        "score": {"Contact": 5, "Dynamism": 5, "Explanation": "A kick.", "confidence": 0.9},
        "describe": {
            "instances": [
                {"id": e["id"], "cls": {"id1": "man", "id2": "ball", "id3": "dog"}[e["id"]],
                 "noun": {"id1": "man in the red shirt", "id2": "blue ball", "id3": "dog"}[e["id"]],
                 "app": "It looks plain.", "spatial": "It is on the left."}
                for e in document.get("entities", [])
            ],
        },
    }  # fmt: skip
    return {"nonce": document["nonce"], **answers[turn]}


class Scripted:
    """A language model whose raw JSON text a function decides; it parses and validates as a real client would."""

    identity = "scripted/1"

    def __init__(self, answer: Callable[[str, dict[str, Any], int], Any]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Sequence[Message]]] = []

    async def ask(self, messages: Sequence[Message], schema: type[Reply]) -> Reply:
        turn = next(name for form, name in TURNS.items() if issubclass(schema, form))
        earlier = sum(t == turn for t, _ in self.asked)
        self.asked.append((turn, messages))
        said = self.answer(turn, json.loads(messages[-1].text), earlier)
        raw = said if isinstance(said, str) else json.dumps(said)
        try:
            return schema.model_validate_json(raw)
        except ValidationError as error:
            raise BadReply(str(error), raw) from error


def world_truth(seed: int, silent: bool = False) -> VideoTruth:
    """A caption of the world with its truth, with nothing drawn. `silent`: one without interactions."""
    rng = random.Random(f"caption test {seed} {silent}")
    plot = make_plot(rng, "plain", silent)
    extras = [actor for actor, _ in plot.extras if actor.key in plot.spoken]
    said = write_caption(plot.cast, plot.acts, plot.link, rng, extras, rng.choice(("room", "park", "street")))
    actors = [*plot.cast, *extras]
    ids = {actor.key: f"id{n}" for n, actor in enumerate(actors, 1)}
    return VideoTruth(
        video=f"{seed}.mp4", seed=seed, level="plain", width=64, height=48, frames=8, fps=8.0, caption=said.text,
        expect="no_interaction" if silent else "accept",
        instances=tuple(
            TrueInstance(
                id=ids[a.key], cls=a.cls, colour=a.colour, phrase=a.phrase, mentions=said.mentions[a.key], masks=()
            )
            for a in actors
        ),
        triplets=tuple(
            TrueTriplet(
                subject=ids[t.subject], verb=t.verb, object=ids[t.object], spans=t.spans, contact=t.contact,
                dynamism=t.dynamism, start_frame=0, end_frame=8,
            )
            for t in said.triplets
        ),
    )  # fmt: skip
