"""Stage `caption` with language models that answer well, badly, and for the wrong clip."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from schemas import Reason, Row, Status
from tasks.caption.stage import CaptionSettings, caption, prompts_version
from tasks.engines.base import BadReply, Frames, Message, Reply
from tasks.engines.embedded.language import EmbeddedLanguage
from tasks.errors import InfrastructureError, UserError
from tests.tasks.caption.captioning import CAPTION, Scripted, good_answer, make_case

SETTINGS = CaptionSettings()


def run(answer: Any, text: str = CAPTION, settings: CaptionSettings = SETTINGS) -> tuple[Row[Any], Scripted]:
    llm = Scripted(answer)
    (row,) = caption([make_case(1, text)], llm, None, settings)
    return row, llm


def test_four_turns_give_a_record() -> None:
    def answer(turn: str, document: dict[str, Any], _: int) -> dict[str, Any]:
        said = good_answer(turn, document)
        if turn == "score" and "chases" in document["triplet"]["interaction"]:
            said |= {"Contact": 1}
        return said

    row, llm = run(answer)
    assert row.status is Status.ACCEPTED and row.payload
    got = row.payload
    assert [turn for turn, _ in llm.asked] == ["count", "triplets", "score", "score", "describe"]
    assert [a.text for a in got.interactions] == ["<id1> kicks <id2>"]
    act = got.interactions[0]
    assert CAPTION[act.spans.subject[0].start : act.spans.subject[0].end] == "man in a red shirt"
    assert CAPTION[act.spans.object[0].start : act.spans.object[0].end] == "blue ball"
    assert CAPTION[act.spans.verb[0].start : act.spans.verb[0].end] == "kicks"
    assert act.source_sentence == "A man in a red shirt kicks a blue ball."
    assert [i.id for i in got.instances] == ["id1", "id2"]
    assert {(d.what, d.reason) for d in got.dropped} == {
        ("<id3> chases <id2>", "low_contact"),
        ("id3", "no_interaction"),
    }
    assert got.counted == 2 and got.caption_by == "sidecar" and got.model == "scripted/1"
    assert got.prompts == prompts_version()


@pytest.mark.parametrize("count", [None, 0])
def test_nothing_counted_is_no_interaction(count: int | None) -> None:
    row, llm = run(lambda turn, document, _: good_answer(turn, document) | {"count": count})
    assert row.reason is Reason.NO_INTERACTION
    assert len(llm.asked) == 1


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        ({"Contact": 2}, "contact 2, dynamism 5, confidence 0.9"),
        ({"Dynamism": 1}, "contact 5, dynamism 1, confidence 0.9"),
        ({"confidence": 0.4}, "contact 5, dynamism 5, confidence 0.4"),
    ],
)
def test_nothing_above_the_thresholds_is_filtered(score: dict[str, Any], reason: str) -> None:
    row, llm = run(lambda turn, document, _: good_answer(turn, document) | (score if turn == "score" else {}))
    assert row.reason is Reason.FILTERED
    assert row.detail == f"<id1> kicks <id2>: {reason}; <id3> chases <id2>: {reason}"
    assert "describe" not in [turn for turn, _ in llm.asked]


@pytest.mark.parametrize(
    ("score", "dropped"),
    [
        ({"Contact": 3, "Dynamism": 2, "confidence": 0.5}, None),
        ({"Contact": 2, "Dynamism": 2, "confidence": 0.5}, "low_contact"),
        ({"Contact": 3, "Dynamism": 1, "confidence": 0.5}, "low_dynamism"),
        ({"Contact": 3, "Dynamism": 2, "confidence": 0.49}, "low_confidence"),
    ],
)
def test_a_rating_at_the_threshold_stays_and_one_below_goes(score: dict[str, Any], dropped: str | None) -> None:
    def answer(turn: str, document: dict[str, Any], _: int) -> dict[str, Any]:
        rated = turn == "score" and "kicks" in document["triplet"]["interaction"]
        return good_answer(turn, document) | (score if rated else {})

    row, _ = run(answer)
    assert row.payload
    assert ("<id1> kicks <id2>" in [a.text for a in row.payload.interactions]) is (dropped is None)
    assert [d.reason for d in row.payload.dropped if d.what == "<id1> kicks <id2>"] == ([dropped] if dropped else [])


def _triplets(**change: Any) -> dict[str, Any]:
    said = good_answer("triplets", {"caption": CAPTION, "nonce": ""})
    first = said["triplets"][0]
    return {"triplets": [{**first, **change}, said["triplets"][1]]}


BAD: list[tuple[str, str, Any, str]] = [
    ("not JSON", "count", "two", "JSON"),
    ("fenced JSON", "count", '```json\n{"count": 2}\n```', "JSON"),
    ("truncated JSON", "count", '{"nonce": "', "JSON"),
    ("text for a number", "count", {"count": "2"}, "valid integer"),
    ("truth for a number", "count", {"count": True}, "valid integer"),
    ("a negative count", "count", {"count": -1}, "greater than or equal to 0"),
    ("an extra key", "count", {"count": 2, "note": "hi"}, "Extra inputs"),
    ("an empty list", "triplets", {"entities": [], "triplets": []}, "2 interactions were counted, 0 are listed"),
    ("too few", "triplets", {"triplets": []}, "2 interactions were counted, 0 are listed"),
    ("an unknown ID", "triplets", _triplets(interaction="<id1> kicks <id9>", tgt1="id9"), "names id9"),
    ("itself", "triplets", _triplets(interaction="<id1> kicks <id1>", tgt1="id1"), "as subject and object"),
    ("other ends", "triplets", _triplets(interaction="<id2> kicks <id1>"), "disagrees with src1"),
    ("no surface form", "triplets", _triplets(interaction="id1 to id2: kick"), "is not of the form"),
    ("three ends", "triplets", _triplets(interaction="id1 kicks id3 to id2"), "is not of the form"),
    ("no verb", "triplets", _triplets(interaction="<id1> … <id2>"), "is not of the form"),
    ("a verb beyond all", "triplets", _triplets(interaction=f"<id1> {'k' * 150} <id2>"), "is not of the form"),
    ("two types", "triplets", {"triplets": [
        *_triplets()["triplets"], _triplets(type="multi subject relation")["triplets"][0],
    ]}, "with two types"),
    ("markup in the verb", "triplets", _triplets(interaction="<id1> kicks <b> <id2>"), "is not of the form"),
    ("a new type", "triplets", _triplets(type="kick"), "Input should be 'multi subject relation'"),
    ("an invented sentence", "triplets", _triplets(source_sentence="A man kicks."), "does not stand in the caption"),
    ("an ID that is none", "triplets", _triplets(src1="man"), "src1 of '<id1> kicks <id2>', 'man', is no ID"),
    ("an invented phrase", "triplets", {"entities": [
        {"id": "id1", "phrase": "a robot"}, {"id": "id2", "phrase": "a blue ball"}, {"id": "id3", "phrase": "The dog"},
    ]}, "'a robot', does not stand in the caption"),
    ("an entity twice", "triplets", {"entities": [
        {"id": "id1", "phrase": "A man"}, {"id": "id2", "phrase": "a blue ball"}, {"id": "id2", "phrase": "The dog"},
    ]}, "'id2' stands twice"),
    ("a score of 0", "score", {"Contact": 0}, "greater than or equal to 1"),
    ("a score of 6", "score", {"Dynamism": 6}, "less than or equal to 5"),
    ("a score in words", "score", {"Contact": "high"}, "valid integer"),
    ("a score with a half", "score", {"Contact": 3.5}, "valid integer"),
    ("no confidence", "score", {"confidence": None}, "valid number"),
    ("too confident", "score", {"confidence": 1.2}, "less than or equal to 1"),
    ("nobody described", "describe", {"instances": []}, "no entry for id1, id2, id3"),
    ("an ID too many", "describe", {"instances": [
        {"id": f"id{n}", "cls": "man", "noun": f"man {n}", "app": "", "spatial": ""} for n in (1, 2, 3, 4)
    ]}, "an entry for id4"),
    ("one noun for two", "describe", {"instances": [
        {"id": f"id{n}", "cls": "man", "noun": "Man", "app": "", "spatial": ""} for n in (1, 2, 3)
    ]}, "'man' stands twice"),
    ("no base noun", "describe", {"instances": [
        {"id": f"id{n}", "cls": "<id1>", "noun": f"man {n}", "app": "", "spatial": ""} for n in (1, 2, 3)
    ]}, "is not a base noun"),
]  # fmt: skip


@pytest.mark.parametrize(("turn", "said", "problem"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_reply_is_asked_again_with_what_was_wrong_and_then_rejected(turn: str, said: Any, problem: str) -> None:
    def always(now: str, document: dict[str, Any], _: int) -> Any:
        if now != turn:
            return good_answer(now, document)
        return said if isinstance(said, str) else good_answer(now, document) | said

    row, llm = run(always)
    assert (row.status, row.reason) == (Status.REJECTED, Reason.BAD_REPLY)
    assert row.detail.startswith(turn) and problem in row.detail and row.detail.endswith("(3 answers)")

    def once(now: str, document: dict[str, Any], earlier: int) -> Any:
        if now == turn and earlier == 0:
            return always(now, document, earlier)
        return good_answer(now, document)

    row, llm = run(once)
    assert row.status is Status.ACCEPTED
    asked = [messages for now, messages in llm.asked if now == turn]
    again = next(m for m in asked if '"problem"' in m[-1].text)
    assert again[0] == asked[0][0]
    assert problem[:20].replace('"', '\\"') in again[-1].text


def test_a_count_may_be_off_by_the_slack_only() -> None:
    def answer(turn: str, document: dict[str, Any], _: int) -> Any:
        return good_answer(turn, document) | ({"count": 3} if turn == "count" else {})

    assert run(answer)[0].status is Status.ACCEPTED
    strict = CaptionSettings(count_slack=0)
    assert run(answer, settings=strict)[0].reason is Reason.BAD_REPLY


def test_a_role_that_does_not_stand_in_the_caption_drops_its_interaction() -> None:
    """A verb in other words than the caption's has no span; the other interaction stays."""

    def answer(turn: str, document: dict[str, Any], _: int) -> Any:
        if turn == "triplets":
            return good_answer(turn, document) | _triplets(interaction="<id1> strikes <id2>")
        return good_answer(turn, document)

    row, _ = run(answer)
    assert row.payload and [a.text for a in row.payload.interactions] == ["<id3> chases <id2>"]
    assert ("<id1> strikes <id2>", "no_span") in {(d.what, d.reason) for d in row.payload.dropped}
    assert ("id1", "no_interaction") in {(d.what, d.reason) for d in row.payload.dropped}


class Swapping:
    """Answers every question with the reply to the one asked before it, as a broken server might."""

    identity = "swapping/1"

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self.inner = EmbeddedLanguage()

    async def ask(self, messages: Sequence[Message], schema: type[Reply]) -> Reply:
        mine = await self.inner.ask(messages, schema)
        before = self.last.get(schema.__name__, mine)
        self.last[schema.__name__] = mine
        return before


def test_a_reply_that_lands_on_another_clip_is_noticed() -> None:
    texts = ["A man kicks a ball.", "A woman lifts a red box.", "The floor is gray.", "A cat bites a rope."]
    rows = list(caption([make_case(n, t) for n, t in enumerate(texts, 1)], Swapping(), None, SETTINGS))
    assert rows[0].status is Status.ACCEPTED
    assert all(r.reason is Reason.BAD_REPLY and "nonce" in r.detail for r in rows[1:])


class Counting:
    """The embedded model behind a wait, with the number of requests in flight."""

    identity = "counting/1"

    def __init__(self) -> None:
        self.now = self.most = 0
        self.loops: set[int] = set()

    async def ask(self, messages: Sequence[Message], schema: type[Reply]) -> Reply:
        self.now += 1
        self.most = max(self.most, self.now)
        self.loops.add(id(asyncio.get_running_loop()))
        await asyncio.sleep(0.001)
        self.now -= 1
        return await EmbeddedLanguage().ask(messages, schema)


def test_clips_run_side_by_side_within_the_bound_and_come_back_in_order() -> None:
    cases = [
        make_case(n, f"A man kicks a ball and lifts a red box, and a dog bites rope number {n}.") for n in range(1, 9)
    ]
    llm = Counting()
    rows: list[Row[Any]] = []
    thread = threading.Thread(target=lambda: rows.extend(caption(cases, llm, None, CaptionSettings(concurrency=5))))
    thread.start()
    thread.join()
    assert [r.key for r in rows] == [c.clip.clip_id for c in cases]
    assert all(r.status is Status.ACCEPTED for r in rows)
    assert llm.most == 5 and len(llm.loops) == 1
    alone = [row for c in cases for row in caption([c], EmbeddedLanguage(), None, SETTINGS)]
    assert [a.payload and a.payload.interactions for a in alone] == [r.payload and r.payload.interactions for r in rows]


def test_a_failing_server_leaves_the_clip_pending_and_keeps_the_others() -> None:
    def answer(turn: str, document: dict[str, Any], _: int) -> Any:
        if "sad" in document["caption"]:
            raise InfrastructureError("the server is gone")
        return good_answer(turn, document)

    cases = [make_case(1, CAPTION), make_case(2, "A sad man kicks a ball. It rolls."), make_case(3, CAPTION)]
    rows: list[Row[Any]] = []
    with pytest.raises(InfrastructureError, match="gone"):
        rows.extend(caption(cases, Scripted(answer), None, SETTINGS))
    assert [(r.key, r.status) for r in rows] == [(cases[i].clip.clip_id, Status.ACCEPTED) for i in (0, 2)]


def test_an_error_of_our_own_is_a_failed_attempt() -> None:
    def answer(*_: Any) -> Any:
        raise ZeroDivisionError("oops")

    row, _ = run(answer)
    assert (row.status, row.detail) == (Status.FAILED, "ZeroDivisionError: oops")


class Captions:
    """A captioner that says what it was shown."""

    identity = "captions/1"

    def __init__(self, *texts: str | None) -> None:
        self.texts = list(texts)
        self.seen: list[tuple[int, ...]] = []

    async def describe(self, frames: Frames, times: Sequence[float] = ()) -> str:
        self.seen.append(tuple(frames[:, 0, 0, 0].tolist()))
        text = self.texts.pop(0)
        if text is None:
            raise BadReply("nothing to read")
        return text


def frames_of(_: Any) -> Frames:
    frames = np.zeros((20, 4, 4, 3), np.uint8)
    frames[:, 0, 0, 0] = np.arange(20)
    return frames


def test_a_video_without_caption_gets_one() -> None:
    captioner = Captions(" A man kicks a ball. ")
    settings = CaptionSettings(captioner_frames=3)
    (row,) = caption([make_case(1, None)], EmbeddedLanguage(), captioner, settings, frames_of)
    assert row.payload and (row.payload.caption, row.payload.caption_by) == ("A man kicks a ball.", "captions/1")
    assert captioner.seen == [(0, 10, 19)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "nothing to read"),
        (" \n", "an empty caption"),
        ("A man kicks a \x1b[31mball.", "the control character U+001B"),
        ("A man kicks a \u202ellab.", "the control character U+202E"),
        ("A man kicks a \ud800 ball.", "not valid UTF-8"),
        ("A man kicks a ball. " * 500, "9999 characters, more than 8000"),
    ],
)
def test_what_a_sidecar_may_not_say_no_captioner_may_and_it_is_asked_once(text: str | None, problem: str) -> None:
    """An engine asks again by itself, with the reason: the stage does not ask the same once more."""
    captioner = Captions(text)
    (row,) = caption([make_case(1, None)], EmbeddedLanguage(), captioner, SETTINGS, frames_of)
    assert row.reason is Reason.BAD_REPLY and row.detail.startswith("captioner: ") and problem in row.detail
    assert len(captioner.seen) == 1


@pytest.mark.parametrize("text", [None, " \n"])
def test_no_caption_and_no_captioner(text: str | None) -> None:
    (row,) = caption([make_case(1, text)], EmbeddedLanguage(), None, SETTINGS)
    assert row.reason is Reason.NO_CAPTION


def test_a_caption_beyond_the_limit_is_rejected() -> None:
    (row,) = caption([make_case(1, "A man kicks a ball. " * 500)], EmbeddedLanguage(), None, SETTINGS)
    assert row.reason is Reason.BAD_CAPTION and "10000" in row.detail


def test_an_unknown_prompt_folder_is_a_users_mistake() -> None:
    for folder in ("v999", "../v1", ""):
        with pytest.raises(UserError, match="prompt"):
            list(caption([make_case(1, CAPTION)], EmbeddedLanguage(), None, CaptionSettings(prompts=folder)))
