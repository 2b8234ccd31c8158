"""Role tokens on awkward text, with the real T5 tokenizer class over a small SentencePiece model trained here."""

import random
import re
import unicodedata

import pytest
from tokenizers import normalizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast, T5TokenizerFast

from matrix_train.attention.prompts import WORD_MARK, Prompt, RoleTokens, Skip, encode
from schemas import RoleSpans, Span


def spans(caption: str, *patterns: str) -> RoleSpans:
    """Where the patterns match, for subject, verb and object; a pattern's groups make several spans."""

    def find(pattern: str) -> tuple[Span, ...]:
        match = re.search(pattern, caption)
        assert match, pattern
        groups = range(1, len(match.groups()) + 1) if match.groups() else [0]
        return tuple(Span(start=match.start(g), end=match.end(g)) for g in groups)

    subject, verb, obj = map(find, patterns)
    return RoleSpans(subject=subject, verb=verb, object=obj)


def said(tokenizer: PreTrainedTokenizerFast, prompt: Prompt, which: int = 0) -> tuple[str, ...]:
    """What each role's tokens say, from the ids that the text encoder reads, blanks left out."""
    roles = prompt.interactions[which]
    assert isinstance(roles, RoleTokens)
    return tuple("".join(tokenizer.decode([prompt.input_ids[i] for i in indices]).split()) for indices in roles.sets())


CASES = {
    "plain": ("A man is lifting up a red box.", "A man|is lifting up|a red box", "Aman|isliftingup|aredbox"),
    "punctuation": ("Then, the (old) “red” man: falls, cup!", "“red” man|falls|cup", "“red”man|falls|cup"),
    "possessive": ("The woman's dog runs.", "woman|runs|dog", "woman|runs|dog"),
    "clitic auxiliary": ("He's lifting a box", "He|'s lifting|a box", "He|'slifting|abox"),
    "double spaces": (
        "  A   man  is\t lifting\n up a  red   box  ",
        "A   man|is\t lifting\n up|a  red   box",
        "Aman|isliftingup|aredbox",
    ),
    "repeated words": ("A man hands a cup to another man.", "A man|hands|another (man)", "Aman|hands|man"),
    "split verb": ("The man picks the cup up.", "The man|(picks) the cup (up)|the cup", "Theman|picksup|thecup"),
    "no-break space": ("A\u00a0man is lifting a\u00a0red box", "A.man|lifting|red box", "Aman|lifting|redbox"),
    "full width": ("Ａ ｍａｎ is lifting the box", "ｍａｎ|is lifting|box", "man|islifting|box"),
    "ligature": ("A man is ﬁlling the cup", "A man|is ﬁlling|the cup", "Aman|isfilling|thecup"),
    "one sign, many letters": ("½ man is lifting a ㎏ box", "½ man|lifting|㎏ box", "1⁄2man|lifting|kgbox"),
    "decomposed accent": ("The cafe\u0301 man is lifting a box", "cafe\u0301 man|lifting|box", "caféman|lifting|box"),
    "zero width": ("A m\u200ban is lifting the box", "m.an|lifting|box", "man|lifting|box"),
    "beyond the basic plane": ("🤖🤖 a man 🤖 is lifting the box 🤖", "a man|lifting|the box", "aman|lifting|thebox"),
}
"""Caption, patterns of subject, verb and object, and what their tokens must say."""


@pytest.mark.parametrize("name", list(CASES))
def test_the_tokens_say_the_words(tokenizer, name) -> None:
    caption, patterns, expected = CASES[name]
    prompt = encode(tokenizer, caption, [spans(caption, *patterns.split("|"))])
    assert said(tokenizer, prompt) == tuple(expected.split("|"))


def test_a_sign_that_the_vocabulary_lacks_is_still_found(tokenizer) -> None:
    caption = "A man is lifting the 🤖 box"
    prompt = encode(tokenizer, caption, [spans(caption, "man", "lifting", "🤖 box")])
    assert tokenizer.unk_token_id in [prompt.input_ids[i] for i in prompt.interactions[0].object]


def test_a_word_mark_by_itself_belongs_to_no_role(tokenizer) -> None:
    caption = "The kitchen zebra is lifting the box"
    assert WORD_MARK in tokenizer.tokenize(caption)
    prompt = encode(tokenizer, caption, [spans(caption, "zebra", "lifting", "box")])
    pieces = tokenizer.convert_ids_to_tokens([prompt.input_ids[i] for i in prompt.interactions[0].subject])
    assert WORD_MARK not in pieces


def test_the_ids_are_what_the_pipeline_feeds_the_text_encoder(tokenizer) -> None:
    for caption in ("A man is lifting up a red box.", "box " * 400, ""):
        want = tokenizer(caption, padding="max_length", max_length=226, truncation=True, add_special_tokens=True)
        assert encode(tokenizer, caption, []).input_ids == tuple(want.input_ids)


@pytest.mark.parametrize("role", ["subject", "verb", "object"])
def test_a_role_that_is_cut_off_is_a_counted_skip(tokenizer, role) -> None:
    filler = "box " * 300
    early = "A man is lifting a cup . "
    texts = {"subject": "A man", "verb": "is lifting", "object": "a cup"}
    kept = encode(tokenizer, early + filler, [spans(early, *texts.values())])
    assert said(tokenizer, kept) == ("Aman", "islifting", "acup")
    assert kept.skipped() == {}
    late = early + filler + texts[role]
    start = len(early + filler)
    moved = spans(early, *texts.values()).model_copy(update={role: (Span(start=start, end=len(late)),)})
    prompt = encode(tokenizer, late, [spans(early, *texts.values()), moved, moved])
    assert isinstance(prompt.interactions[0], RoleTokens)
    assert prompt.interactions[1:] == (Skip(role, "truncated"), Skip(role, "truncated"))
    assert prompt.skipped() == {"truncated": 2}


def test_the_cut_falls_exactly_before_the_end_mark(tokenizer) -> None:
    """The last role token may stand at max_length − 2; one further, it is cut; half a role is a cut role."""
    caption = "A man is lifting a red cup"
    roles = spans(caption, "A man", "is lifting", "red cup")
    last = max(encode(tokenizer, caption, [roles]).interactions[0].object)
    fits = encode(tokenizer, caption, [roles], max_length=last + 2)
    assert said(tokenizer, fits) == ("Aman", "islifting", "redcup")
    assert fits.input_ids[-1] == tokenizer.eos_token_id
    assert encode(tokenizer, caption, [roles], max_length=last + 1).skipped() == {"truncated": 1}


def test_a_span_of_nothing_is_a_skip(tokenizer) -> None:
    caption = "A man is \u200b\u200b lifting the box"
    prompt = encode(tokenizer, caption, [spans(caption, "man", "\u200b\u200b", "box")])
    assert prompt.interactions == (Skip("verb", "no_token"),)


def test_tokens_that_do_not_spell_their_span_are_a_skip(tokenizer) -> None:
    """Where the normaliser puts other letters in the place of a span's, its offsets mean nothing: the check sees it."""
    broken = T5TokenizerFast.from_pretrained(tokenizer.name_or_path)
    caption = "A man is lifting the box"
    rewrite = normalizers.Sequence([broken.backend_tokenizer.normalizer, normalizers.Replace("lifting", "pushing")])
    broken.backend_tokenizer.normalizer = rewrite
    roles = spans(caption, "man", "is lift", "box")
    assert encode(broken, caption, [roles]).skipped() == {"mismatch": 1}


def test_every_word_of_random_captions_is_found(tokenizer) -> None:
    """Any word of any caption made of awkward pieces: its tokens, decoded, are the word after NFKC."""
    generator = random.Random(0)
    alphabet = [
        "man",
        "box",
        "lifting",
        "ﬁlling",
        "ｒｅｄ",
        "cafe\u0301",
        "½",
        "㎏",
        "woman's",
        "'red',",
        "(up)",
        "½½",
        "№",
    ]
    for _ in range(60):
        chosen = [generator.choice(alphabet) for _ in range(generator.randint(3, 12))]
        gaps = [generator.choice([" ", "  ", "\t", "\u00a0", " \n "]) for _ in chosen]
        caption = "".join(gap + word for gap, word in zip(gaps, chosen, strict=True))
        starts = [sum(map(len, gaps[: i + 1])) + sum(map(len, chosen[:i])) for i in range(len(chosen))]
        picks = [generator.randrange(len(chosen)) for _ in range(3)]
        s, v, o = ((Span(start=starts[i], end=starts[i] + len(chosen[i])),) for i in picks)
        prompt = encode(tokenizer, caption, [RoleSpans(subject=s, verb=v, object=o)])
        want = tuple(unicodedata.normalize("NFKC", chosen[i]) for i in picks)
        assert said(tokenizer, prompt) == want, caption


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match="ByT5Tokenizer gives no character offsets"):
        encode(ByT5Tokenizer(), "A man", [])
