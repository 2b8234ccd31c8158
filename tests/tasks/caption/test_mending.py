"""What is harmless in a reply is mended and counted, with the caption's own text; what is not is told."""

from typing import Any

import pytest

from schemas import Repairs
from tasks.caption.mending import mend_descriptors, mend_triplets
from tasks.caption.quotes import find_wording, nearest_sentence
from tasks.caption.stage import CaptionSettings, caption
from tasks.engines.embedded.language import EmbeddedLanguage
from tasks.engines.replies import DescribeReply, TripletsReply
from tests.tasks.caption.captioning import CAPTION, Scripted, good_answer, make_case

SENTENCE = "A man in a red shirt kicks a blue ball."


def mended(**change: Any) -> tuple[TripletsReply, Repairs]:
    """The good answer to `CAPTION` with its first triplet changed, or its entities."""
    said = good_answer("triplets", {"caption": CAPTION, "nonce": ""})
    entities = change.pop("entities", said["entities"])
    triplets = change.pop("triplets", [said["triplets"][0] | change, *said["triplets"][1:]])
    reply = TripletsReply(nonce="", entities=entities, triplets=triplets)  # type: ignore[arg-type]
    return mend_triplets(reply, CAPTION)


@pytest.mark.parametrize(
    "said",
    ["id1 kicks id2", "<id1> kicks id2", "(id1) kicks [id2]", "<ID1> kicks <ID2>", "<id1>  kicks <id2>.",
     "< id1 > kicks < id2 >", "<id1> kicks\n<id2>;"],
)  # fmt: skip
def test_brackets_and_case_of_ids_are_put_right(said: str) -> None:
    reply, repairs = mended(interaction=said)
    assert reply.triplets[0].interaction == "<id1> kicks <id2>"
    assert repairs == Repairs(brackets=1)


def test_ids_with_brackets_are_put_right_wherever_they_stand() -> None:
    entities = [{"id": "<id1>", "phrase": "A man"}, {"id": "ID2.", "phrase": "a blue ball"},
                {"id": "id3", "phrase": "The dog"}]  # fmt: skip
    reply, repairs = mended(src1="<id1>", tgt1="ID2", entities=entities)
    assert (reply.triplets[0].src1, reply.triplets[0].tgt1) == ("id1", "id2")
    assert [e.id for e in reply.entities] == ["id1", "id2", "id3"]
    assert repairs == Repairs(brackets=3)


@pytest.mark.parametrize(
    "said",
    ["id1kicks id2", "<id1> <id2>", "<id1> kicks", "kicks <id2>", "<id1> kicks <id3> to <id2>", "<id0> kicks <id2>",
     "<id1> kicks <id200>", "<id1> 5 <id2>", "<id1> <b>kicks</b> <id2>", ""],
)  # fmt: skip
def test_a_surface_form_that_leaves_doubt_is_told(said: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        mended(interaction=said)


@pytest.mark.parametrize(
    ("said", "own"),
    [
        ("a man in a RED shirt kicks a blue ball.", SENTENCE),
        ("A man in a red shirt  kicks\na blue ball.", SENTENCE),
        ("“A man in a red shirt kicks a blue ball”", SENTENCE),
        ("'A man, in a red shirt, kicks a blue-ball!'", SENTENCE),
        ("A man in a red shirt — kicks a blue ball", SENTENCE[:-1]),
        ("man in a red shirt kicks - a blue ball", SENTENCE[2:-1]),
        (f"{SENTENCE} The dog chases the ball", f"{SENTENCE} The dog chases the ball"),
    ],
)
def test_a_quote_in_another_dress_becomes_the_captions_own(said: str, own: str) -> None:
    reply, repairs = mended(source_sentence=said)
    assert reply.triplets[0].source_sentence == own
    assert repairs == Repairs(wordings=int(said != own))


def test_an_apostrophe_and_other_letter_forms_are_no_difference() -> None:
    text = "The man’s dog doesn’t bite the oﬃcer. It sleeps."
    for said in ("the man's dog doesn't bite the officer", "THE MAN'S DOG DOESN'T BITE THE OFFICER"):
        assert (span := find_wording(text, said)) and text[span.start : span.end] == text[:36]
    assert find_wording(text, "the mans dog") is None
    assert find_wording(text, "…") is None and find_wording(text, "") is None
    assert find_wording("", "a dog") is None


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("The man in the red shirt kicks a blue ball.", True),
        ("A man in a red shirt kicks a big blue ball.", True),
        ("A man in a red shirt is kicking a blue ball.", True),
        ("A man in a red shirt kicks a blue ball hard.", True),
        ("A man kicks.", False),
        ("A man in a red shirt never kicks a blue ball.", False),
        ("A man in a red shirt kicks a dog.", False),  # the other sentence has the dog
        ("A cat sleeps on the roof.", False),
    ],
)
def test_the_nearest_sentence_is_taken_where_it_is_near_and_says_no_other_thing(said: str, found: bool) -> None:
    span = nearest_sentence(CAPTION, said)
    assert (span is not None and CAPTION[span.start : span.end] == SENTENCE) == found


def test_of_two_sentences_as_near_none_is_taken() -> None:
    text = "The tall man lifts the red box. The tall man lifts the blue box. A dog sleeps."
    assert nearest_sentence(text, "The tall man lifts the box.") is None
    assert (span := nearest_sentence(text, "The tall man lifts the red box now.")) and span.end == 31
    assert (
        nearest_sentence("A dog sleeps under the old table. " + text[:31], "A dog sleeps under an old table")
        is not None
    )
    assert nearest_sentence("", "A dog sleeps.") is None


def test_phrases_become_the_captions_own() -> None:
    entities = [{"id": "id1", "phrase": "the man in a red shirt"}, {"id": "id2", "phrase": "A “blue” ball."},
                {"id": "id3", "phrase": "The dog"}]  # fmt: skip
    reply, repairs = mended(entities=entities)
    assert [e.phrase for e in reply.entities] == ["man in a red shirt", "a blue ball", "The dog"]
    assert repairs == Repairs(wordings=2)


def test_entities_and_triplets_listed_twice_are_merged() -> None:
    said = good_answer("triplets", {"caption": CAPTION, "nonce": ""})
    first = said["triplets"][0]
    again = [first, first | {"interaction": "id1 Kicks id2"}, first | {"source_sentence": "The dog chases the ball."}]
    reply, repairs = mended(triplets=[*said["triplets"], *again], entities=[*said["entities"], said["entities"][1]])
    assert [t.interaction for t in reply.triplets] == ["<id1> kicks <id2>", "<id3> chases <id2>"]
    assert [e.id for e in reply.entities] == ["id1", "id2", "id3"]
    assert repairs == Repairs(doubles=4, brackets=1)


def test_an_entity_that_no_triplet_names_goes_whatever_its_phrase() -> None:
    said = good_answer("triplets", {"caption": CAPTION, "nonce": ""})
    reply, repairs = mended(entities=[*said["entities"], {"id": "id4", "phrase": "a unicorn"}])
    assert [e.id for e in reply.entities] == ["id1", "id2", "id3"]
    assert repairs == Repairs(unused_entities=1)


def test_classes_and_nouns_lose_articles_capitals_and_stops() -> None:
    entry = {"id": "<id1>", "cls": "A Man.", "noun": " man in red. ", "app": "", "spatial": ""}
    plain = {"id": "id2", "cls": "ball", "noun": "blue ball", "app": "", "spatial": ""}
    reply, repairs = mend_descriptors(DescribeReply(nonce="", instances=[entry, plain]))  # type: ignore[list-item]
    assert [(d.id, d.cls, d.noun) for d in reply.instances] == [
        ("id1", "man", "man in red"),
        ("id2", "ball", "blue ball"),
    ]
    assert repairs == Repairs(brackets=1, nouns=1)


def test_repairs_are_on_record_with_the_clip_and_an_answer_without_fault_has_none() -> None:
    def answer(turn: str, document: dict[str, Any], _: int) -> dict[str, Any]:
        said = good_answer(turn, document)
        if turn == "triplets":
            said["triplets"][0]["interaction"] = "id1 kicks id2"
        return said

    (row,) = caption([make_case(1, CAPTION)], Scripted(answer), None, CaptionSettings())
    assert row.usage and row.usage.repaired == Repairs(brackets=1) and row.usage.requests == 0
    assert row.payload and row.payload.interactions[0].text == "<id1> kicks <id2>"
    for llm in (EmbeddedLanguage(), Scripted(lambda turn, document, _: good_answer(turn, document))):
        (row,) = caption([make_case(1, CAPTION)], llm, None, CaptionSettings())
        assert row.payload and row.usage is None
