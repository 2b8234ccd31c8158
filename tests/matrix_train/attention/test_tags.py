"""Captions with tags: where they stand, and that each is one token which its role reads."""

from matrix_train.attention.prompts import RoleTokens, encode
from matrix_train.attention.tags import add_tags, tagged
from schemas import Interaction, RoleSpans, Span

CAPTION = "A man lifts a box while the woman pushes the man."


def act(subject: str, verb: str, obj: str, words: tuple[str, str, str]) -> Interaction:
    """Roles are the last words of their kind in the caption where they are written so: `man$`."""
    found = []
    for word in words:
        at = CAPTION.rindex(word[:-1]) if word.endswith("$") else CAPTION.index(word)
        found.append((Span(start=at, end=at + len(word.removesuffix("$"))),))
    spans = RoleSpans(subject=found[0], verb=found[1], object=found[2])
    return Interaction.model_construct(subject=subject, verb=verb, object=obj, spans=spans)


ACTS = [
    act("id1", "lift", "id2", ("A man", "lifts", "a box")),
    act("id3", "push", "id1", ("the woman", "pushes", "the man$")),
]


def test_a_tag_stands_before_every_mention() -> None:
    found = tagged(CAPTION, [*ACTS, ACTS[0]])
    assert found.prompt == "<id1> A man lifts <id2> a box while <id3> the woman pushes <id1> the man."
    for spans, (subject, obj) in zip(found.spans, [("id1", "id2"), ("id3", "id1"), ("id1", "id2")], strict=True):
        said = {role: [found.prompt[s.start : s.end] for s in parts] for role, parts in spans.items()}
        assert said == {"subject": [f"<{subject}>"], "verb": [], "object": [f"<{obj}>"]}


def test_each_tag_is_a_token_and_the_role_reads_it_alone(tokenizer) -> None:
    before = encode(tokenizer, CAPTION, [ACTS[0].spans])
    size = len(tokenizer)
    own = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    add_tags(own)
    assert len(own) == size + 5
    assert encode(own, CAPTION, [ACTS[0].spans]) == before
    found = tagged(CAPTION, ACTS)
    prompt = encode(own, found.prompt, found.spans)
    tokens = own.convert_ids_to_tokens(list(prompt.input_ids))
    for outcome, (subject, obj) in zip(prompt.interactions, [("id1", "id2"), ("id3", "id1")], strict=True):
        assert isinstance(outcome, RoleTokens)
        said = [[tokens[i] for i in indices] for indices in outcome.sets()]
        assert said == [[f"<{subject}>"], [], [f"<{obj}>"]]
