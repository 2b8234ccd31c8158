"""A small model's real faults, replayed: what is right in them passes, what is wrong does not, all of it is counted."""

from dataclasses import replace
from typing import Any

import pytest

from schemas import Captioned, Reason, Repairs, Row, Status
from tasks.caption.remarks import remarks
from tasks.caption.stage import CaptionSettings, caption
from tasks.store.chunks import StageView
from tasks.store.folder import Folder
from tasks.store.lease import lease
from tests.tasks.caption.captioning import make_case
from tests.tasks.engines.served.weak_model import CLIPS, Clip, WeakModel


def run(serve: Any, engine: Any, clips: dict[str, Clip], parrot: str = "first") -> dict[str, Row[Captioned]]:
    llm = engine(serve(WeakModel(clips, parrot)))
    cases = [make_case(n, clip.caption) for n, clip in enumerate(clips.values(), 1)]
    return dict(zip(clips, caption(cases, llm, None, CaptionSettings()), strict=True))


def test_every_kind_of_clip_passes_where_the_content_is_right(serve, engine, tmp_path):
    rows = run(serve, engine, CLIPS)
    assert {name: row.detail for name, row in rows.items() if row.status is not Status.ACCEPTED} == {}
    for name, row in rows.items():
        clip, got = CLIPS[name], row.payload
        assert {(a.subject, a.verb, a.object) for a in got.interactions} == {t[:3] for t in clip.triplets}
        assert {i.id: i.cls for i in got.instances} == clip.kinds
        assert all(a.source_sentence in clip.caption for a in got.interactions)
        assert row.usage.repaired == Repairs(**clip.repaired), name
        assert row.usage.requests == 5  # one more than the turns: the description that was the prompt's example
    store = StageView(Folder(str(tmp_path / "work")), "caption/abc123", Captioned)
    put(store, list(rows.values()))
    (chunk,) = store.chunks.values()
    told = chunk.totals().usage.line()
    assert told.endswith("; repaired: 5 unused entities, 1 double, 1 wording, 1 nearest sentence")
    assert remarks(store) == []  # six ratings are too few
    more = {f"{n}": replace(CLIPS["a triplet twice"], caption=f"{clip_text(n)}") for n in range(3)}
    again = run(serve, engine, more)
    put(store, [row.model_copy(update={"key": f"{n + 50:016x}"}) for n, row in enumerate(again.values())])
    assert remarks(store) == ["all 9 ratings are contact 4, dynamism 4, confidence 1: this model does not rate"]


def put(store: StageView[Captioned], rows: list[Row[Captioned]]) -> None:
    with lease(store.work, store.place):
        store.append(rows, 2000)


def clip_text(n: int) -> str:
    return f"{CLIPS['a triplet twice'].caption} It is day {n}."


def test_a_model_that_gives_the_example_back_every_time_is_a_bad_reply(serve, engine):
    for row in run(serve, engine, CLIPS, "always").values():
        assert (row.status, row.reason) == (Status.REJECTED, Reason.BAD_REPLY)
        assert "spatial repeats an example of the instructions" in row.detail and "(3 answers)" in row.detail


def first(**fields: Any) -> Any:
    return lambda reply: reply["triplets"][0].update(fields)


def phrase(text: str) -> Any:
    return lambda reply: reply["entities"][0].update(phrase=text)


def contrary(reply: dict[str, Any]) -> None:
    """The same act again, the other way round, and with another type."""
    reply["triplets"].append({**reply["triplets"][0], "type": "multi subject relation"})


WRONG = {
    "a person of nowhere": (phrase("a tall robot"), "does not stand in the caption"),
    "a phrase put together": (phrase("A woman in a wet coat"), "does not stand in the caption"),
    "a sentence of nowhere": (first(source_sentence="A cyclist waves at a bus."), "does not stand in the caption"),
    "a sentence denied": (
        first(source_sentence="A woman in a green coat never pushes a stroller along a wet street."),
        "does not stand in the caption",
    ),
    "a sentence mixed of two": (
        first(source_sentence="A woman in a green coat pushes a parked van along a wet street."),
        "does not stand in the caption",
    ),
    "the other way round": (first(interaction="<id2> pushes <id1>"), "disagrees"),
    "an ID of nowhere": (first(interaction="<id1> pushes <id7>", tgt1="id7"), "id7"),
    "on itself": (first(interaction="<id1> pushes <id1>", tgt1="id1"), "subject and object"),
    "twice in two types": (contrary, "two types"),
}


@pytest.mark.parametrize(("change", "word"), WRONG.values(), ids=WRONG)
def test_nothing_wrong_passes(change, word, serve, engine):
    (row,) = run(serve, engine, {"wrong": replace(CLIPS["an unused thing"], change=change)}, "never").values()
    assert (row.status, row.reason) == (Status.REJECTED, Reason.BAD_REPLY)
    assert row.detail.startswith("triplets: ") and word in row.detail
    assert row.usage.repaired == Repairs()  # what was not taken is not counted


def test_a_verb_that_the_sentence_does_not_have_is_dropped(serve, engine):
    made_up = replace(CLIPS["an unused thing"], change=first(interaction="<id1> kicks <id2>"))
    (row,) = run(serve, engine, {"made up": made_up}, "never").values()
    assert (row.status, row.reason) == (Status.REJECTED, Reason.FILTERED) and "no_span" in row.detail
