"""Nouns as text: every noun knows its own tokens, and no noun can speak for another."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engines.grounding_dino.prompts import build_prompts, clean


def test_each_noun_has_its_own_tokens_word_by_word(tokenizer):
    (prompt,) = build_prompts(["man", "polar bear", "snowboard"], tokenizer, 256)
    assert prompt.text == "man . polar bear . snowboard ."
    assert tokenizer.convert_ids_to_tokens(list(prompt.ids)) == (
        ["[CLS]", "man", ".", "polar", "bear", ".", "snow", "##board", ".", "[SEP]"]
    )
    assert prompt.nouns == (("man",), ("polar bear",), ("snowboard",))
    assert prompt.words == (((1,),), ((3,), (4,)), ((6, 7),))


@pytest.mark.parametrize(
    ("noun", "text"),
    [
        ("Polar  Bear", "polar bear"),
        ("man . cup", "man cup"),
        ("man? cup.", "man cup"),
        ("[SEP]", "sep"),
        ("man [SEP] cup [CLS]", "man sep cup cls"),
        ("man\ncup\t", "man cup"),
        ("tennis_ball", "tennis ball"),
        ("po\u200blar", "polar"),
        ("ｍａｎ．", "man"),  # full-width letters and stop become plain, then the stop goes
        ("t-shirt", "t-shirt"),
        ("…", ""),
        ("🍎", ""),
    ],
)
def test_what_would_end_a_phrase_loses_its_meaning(noun, text):
    assert clean(noun) == text


@pytest.mark.parametrize("noun", ["", "  ", ".", "?!", "🍎", "漢字", "man 漢", "x" * 600, "man " * 254])
def test_a_noun_that_means_nothing_here_is_left_out_and_said(tokenizer, noun, caplog):
    (prompt,) = build_prompts(["cup", noun, "man"], tokenizer, 256)
    assert prompt.nouns == (("cup",), ("man",))
    assert "gets no box" in caplog.text
    assert build_prompts([noun], tokenizer, 256) == []


def test_nouns_that_read_alike_share_a_phrase(tokenizer):
    (prompt,) = build_prompts(["man", "Man", "man", "cup", "man."], tokenizer, 256)
    assert prompt.text == "man . cup ."
    assert prompt.nouns == (("man", "Man", "man."), ("cup",))


def test_a_long_list_is_cut_into_prompts_that_fit_without_losing_or_reordering(tokenizer):
    nouns = [f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst"]
    prompts = build_prompts(nouns, tokenizer, 32)
    assert [noun for p in prompts for same in p.nouns for noun in same] == nouns
    # Two tokens and a stop for each noun, [CLS] and [SEP] for all: ten to a prompt.
    assert {len(p.ids) for p in prompts} == {32}
    assert len(build_prompts(nouns, tokenizer, 256)) == 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30) | st.sampled_from(["man", "[SEP]", "polar bear", "cup.", "man?"]), max_size=8))
def test_whatever_is_asked_a_nouns_tokens_are_its_own(tokenizer, nouns):
    special = {*tokenizer.all_special_ids, *tokenizer.convert_tokens_to_ids([".", "?"])}
    for prompt in build_prompts(nouns, tokenizer, 64):
        assert len(prompt.ids) <= 64
        assert list(tokenizer(prompt.text)["input_ids"]) == list(prompt.ids)
        taken = [place for words in prompt.words for word in words for place in word]
        assert len(set(taken)) == len(taken)
        # Between the nouns stand stops and nothing else, so each is a phrase of its own to the network.
        others = [prompt.ids[k] for k in range(1, len(prompt.ids) - 1) if k not in set(taken)]
        assert others == [tokenizer.convert_tokens_to_ids(".")] * len(prompt.nouns)
        for same, words in zip(prompt.nouns, prompt.words, strict=True):
            own = [prompt.ids[place] for word in words for place in word]
            assert own
            assert not set(own) & special
            assert all(tokenizer(clean(noun), add_special_tokens=False)["input_ids"] == own for noun in same)
