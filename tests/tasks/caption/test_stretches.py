"""A caption cut at its triplets' words: nothing is lost, and every place has one role."""

from schemas import Interaction, Rating, RoleSpans, Span
from tasks.caption.stretches import Stretch, stretches

CAPTION = "A man picks the box up. He hands it over."


def act(subject: str, verb: str, thing: str, *, names: tuple[str, str] = ("id1", "id2")) -> Interaction:
    """Of words of the caption; parts of a role apart by |."""

    def spans(words: str) -> tuple[Span, ...]:
        return tuple(Span(start=(at := CAPTION.index(word)), end=at + len(word)) for word in words.split("|"))

    return Interaction(
        subject=names[0], verb=verb.replace("|", " "), object=names[1], text=f"<{names[0]}> {verb} <{names[1]}>",
        type="functional action based interaction", source_sentence=CAPTION,
        spans=RoleSpans(subject=spans(subject), verb=spans(verb), object=spans(thing)),
        rating=Rating(contact=5, dynamism=3, explanation="held", confidence=1),
    )  # fmt: skip


def test_the_caption_is_cut_at_its_spans():
    found = stretches(CAPTION, [act("A man", "picks|up", "the box"), act("He", "hands|over", "it")])
    assert "".join(one.text for one in found) == CAPTION
    assert [one for one in found if one.role] == [
        Stretch("A man", "subject", "id1"), Stretch("picks", "verb"), Stretch("the box", "object", "id2"),
        Stretch("up", "verb"), Stretch("He", "subject", "id1"), Stretch("hands", "verb"),
        Stretch("it", "object", "id2"), Stretch("over", "verb"),
    ]  # fmt: skip
    assert stretches(CAPTION, []) == [Stretch(CAPTION)] and stretches("", []) == []


def test_where_spans_meet_the_first_triplet_and_its_nouns_hold():
    first, second = act("A man", "picks the", "the box"), act("man", "picks", "box up", names=("id3", "id4"))
    assert [one for one in stretches(CAPTION, [first, second]) if one.role] == [
        Stretch("A man", "subject", "id1"), Stretch("picks ", "verb"), Stretch("the box", "object", "id2"),
        Stretch(" up", "object", "id4"),
    ]  # fmt: skip
