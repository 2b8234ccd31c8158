"""What a small instruct model really said to six captions, and what it might have said that is wrong.

It had 1.5 billion parameters and a server that held it to JSON schemas: four times an entity that no triplet names,
once a triplet twice, once a sentence that is not the caption's. Its ratings were always 4, 4 and 1, and its
descriptions repeated the prompt's example. The captions here are of our own making, the faults are those.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from tests.tasks.engines.served.fault_server import Asked, Told, said

THING, BEING = "functional action based interaction", "multi subject relation"
EXAMPLE = "It is on the left and is pushed by the man."


@dataclass(frozen=True)
class Clip:
    """A caption, what is right about it, and how the model puts it."""

    caption: str
    entities: dict[str, str]
    triplets: list[tuple[str, str, str, str]]
    """(subject, verb, object, source sentence)."""
    kinds: dict[str, str]
    """Class noun of each entity that a triplet names."""
    change: Callable[[dict[str, Any]], None] = lambda reply: None
    """What is done to the reply of turn 2 before it is said."""
    repaired: dict[str, int] = field(default_factory=dict)

    def triplets_reply(self) -> dict[str, Any]:
        reply = {
            "entities": [{"id": i, "phrase": phrase} for i, phrase in self.entities.items()],
            "triplets": [
                {"interaction": f"<{s}> {verb} <{o}>", "src1": s, "tgt1": o, "source_sentence": sentence,
                 "type": BEING if self.kinds[o] in ("dog", "child", "woman") else THING}
                for s, verb, o, sentence in self.triplets
            ],
        }  # fmt: skip
        self.change(reply)
        return reply


def _twice(reply: dict[str, Any]) -> None:
    reply["triplets"].append({**reply["triplets"][0]})


CLIPS = {
    "an unused thing": Clip(
        "A woman in a green coat pushes a stroller along a wet street. A parked van stands behind her.",
        {"id1": "A woman in a green coat", "id2": "a stroller", "id3": "A parked van"},
        [("id1", "pushes", "id2", "A woman in a green coat pushes a stroller along a wet street.")],
        {"id1": "woman", "id2": "stroller"}, repaired={"unused_entities": 1},
    ),
    "an unused place": Clip(
        "Two boys sit on a bench. The taller boy throws a yellow frisbee to a brown dog.",
        {"id1": "The taller boy", "id2": "a yellow frisbee", "id3": "a brown dog", "id4": "a bench"},
        [("id1", "throws", "id2", "The taller boy throws a yellow frisbee to a brown dog.")],
        {"id1": "boy", "id2": "frisbee"}, repaired={"unused_entities": 2},
    ),
    "an unused person": Clip(
        "A chef chops onions on a board while a waiter watches.",
        {"id1": "A chef", "id2": "onions", "id3": "a waiter"},
        [("id1", "chops", "id2", "A chef chops onions on a board while a waiter watches.")],
        {"id1": "chef", "id2": "onion"}, repaired={"unused_entities": 1},
    ),
    "an unused thing that the caption does not have": Clip(
        "An old man lifts a heavy crate onto a cart.",
        {"id1": "An old man", "id2": "a heavy crate", "id3": "a forklift"},
        [("id1", "lifts", "id2", "An old man lifts a heavy crate onto a cart.")],
        {"id1": "man", "id2": "crate"}, repaired={"unused_entities": 1},
    ),
    "a triplet twice": Clip(
        "A girl in a white dress hugs a small child. They stand in a garden.",
        {"id1": "A girl in a white dress", "id2": "a small child"},
        [("id1", "hugs", "id2", "A girl in a white dress hugs a small child.")],
        {"id1": "girl", "id2": "child"}, change=_twice, repaired={"doubles": 1},
    ),
    "a sentence in other words": Clip(
        "On the quay, a fisherman in a “yellow” raincoat – soaked through – drags a torn net. Gulls circle above him.",
        {"id1": "a fisherman in a yellow raincoat", "id2": "a torn net"},
        [("id1", "drags", "id2", "On the quay a fisherman in a yellow raincoat, soaked through, drags the torn net.")],
        {"id1": "fisherman", "id2": "net"}, repaired={"nearest_sentences": 1, "wordings": 1},
    ),
}  # fmt: skip


class WeakModel:
    """Answers of the model to `CLIPS`, each within the schema that it was held to, or the test's script is wrong."""

    def __init__(self, clips: dict[str, Clip] = CLIPS, parrot: str = "first") -> None:
        """parrot: whether it gives the prompt's example back 'first', 'always' or 'never'."""
        self.clips = {clip.caption: clip for clip in clips.values()}
        self.parrot = parrot

    def __call__(self, asked: Asked) -> Told:
        document, clip = asked.document, self.clips[asked.document["caption"]]
        answer = self.answer(asked.turn, document, clip) | {"nonce": document["nonce"]}
        jsonschema.validate(answer, asked.body["response_format"]["json_schema"]["schema"])
        return said(json.dumps(answer))

    def answer(self, turn: str, document: dict[str, Any], clip: Clip) -> dict[str, Any]:
        if turn == "count":
            return {"count": len(clip.triplets)}
        if turn == "triplets":
            return clip.triplets_reply()
        if turn == "score":
            return {"Contact": 4, "Dynamism": 4, "Explanation": "The verb of the sentence says so.", "confidence": 1.0}
        parrots = self.parrot == "always" or (self.parrot == "first" and "problem" not in document)
        return {
            "instances": [
                {"id": e["id"], "cls": clip.kinds[e["id"]], "noun": clip.entities[e["id"]],
                 "app": f"It is {clip.entities[e['id']]}.", "spatial": EXAMPLE if parrots else "It is in the act."}
                for e in document["entities"]
            ]
        }  # fmt: skip
