"""Rankings, gaps and choices on tables that are worked out by hand."""

import numpy as np
import pytest

from matrix_train.analyze.ranking import VARIANTS, Choice, choose, dummy, gaps, influence, top_of


def test_frequency_magnitude_and_rank_sum_by_hand() -> None:
    """Four blocks, top 2. Clip by clip the two largest: (1, 3), (3, 1), (3, 0)."""
    scores = np.array([[0.125, 0.875, 0.25, 0.75], [0.0, 0.375, 0.25, 0.625], [0.625, 0.125, 0.25, 0.75]])
    found = influence(scores)
    assert found.frequency.tolist() == [1, 2, 0, 3]
    assert found.magnitude == pytest.approx([0.25, 1.375 / 3, 0.25, 2.125 / 3])
    # By frequency 3, 2, 4, 1; by magnitude blocks 0 and 2 share places 3 and 4.
    assert found.rank_sum.tolist() == [6.5, 4, 7.5, 2]
    assert found.influential == (3, 1)


def test_a_block_may_lead_by_magnitude_through_a_single_clip_and_not_by_frequency() -> None:
    """Six blocks, top 3: block 5 is huge once and last otherwise; blocks 1 and 2 are always there."""
    scores = np.array([[0.1, 0.5, 0.4, 0.3, 0.2, 9.0], [0.1, 0.5, 0.4, 0.3, 0.2, 0.0], [0.1, 0.5, 0.4, 0.3, 0.2, 0.0]])
    found = influence(scores)
    assert found.frequency.tolist() == [0, 3, 3, 2, 0, 1]
    assert found.rank_sum.tolist() == [5.5 + 6, 1.5 + 2, 1.5 + 3, 3 + 4, 5.5 + 5, 4 + 1]
    assert found.influential == (1, 2, 5)


def test_top_is_ten_as_in_the_paper_and_half_of_a_small_model() -> None:
    assert [top_of(blocks) for blocks in (42, 60, 40, 30, 20, 19, 6, 4, 3)] == [10, 10, 10, 10, 10, 10, 3, 2, 2]
    scores = np.random.default_rng(0).random((5, 42))
    scores[:, [7, 11]] += 1
    found = influence(scores)
    assert len(found.influential) == 10
    assert set(found.influential[:2]) == {7, 11}
    assert found.frequency.sum() == 50


def test_dummy_blocks_get_no_place_and_clips_without_the_variant_do_not_count() -> None:
    scores = np.array([[0.9, 0.1, 0.2, 0.3], [0.9, 0.1, 0.3, 0.2], [np.nan] * 4])
    found = influence(scores, left_out=(0,))
    assert found.frequency.tolist() == [0, 0, 2, 2]
    assert found.influential == (2, 3), "equal in both: the first one"
    assert found.rank_sum[0] == np.inf
    assert influence(np.full((2, 4), np.nan)).influential == ()


def test_a_dummy_block_says_the_same_to_every_prompt() -> None:
    """Block 1 looks at padding alone, block 2 spreads evenly over 512 keys, up to float32's rounding."""
    attention = np.array([[2e-3, 1e-15, 1 / 512], [3e-3, 2e-15, 1 / 512 + 1e-9], [4e-3, 1e-15, 1 / 512 - 1e-9]])
    assert dummy(attention) == (1, 2)
    assert dummy(attention[:1]) == (), "one prompt says nothing"


def test_gaps_are_of_equal_numbers_and_dominance_wants_both_sides() -> None:
    """Means of success .8 .5 .4, of failure .2 .5 .2, of all .5 .5 .3."""
    scores = np.array([[0.9, 0.5, 0.4], [0.7, 0.5, 0.4], [0.1, 0.5, 0.2], [0.3, 0.5, 0.2], [9.0, 9.0, 9.0]])
    found = gaps(scores, success=[0, 1, 4], failure=[2, 3], influential=(0, 1, 2))
    assert found is not None
    assert found.success == pytest.approx([0.3, 0.0, 0.1])
    assert found.failure == pytest.approx([-0.3, 0.0, -0.1])
    assert found.dominant == (0,), "block 2's gap is a third of the largest"
    assert gaps(scores, [0, 1], [2, 3], influential=(1, 2)).dominant == ()  # type: ignore[union-attr]
    assert gaps(scores, [0], [], influential=(0,)) is None


def test_clips_without_a_label_are_part_of_all() -> None:
    scores = np.array([[0.8], [0.2], [0.2], [0.2]])
    found = gaps(scores, success=[0], failure=[1], influential=(0,))
    assert found is not None
    assert found.success == pytest.approx([0.45])
    assert found.failure == pytest.approx([-0.15])
    assert found.dominant == (0,)


def test_what_is_chosen_for_each_loss() -> None:
    """By influence, grounding adds the rank sums of nouns and verbs; by labels, distances."""
    rising, falling = np.tile(np.arange(4.0), (2, 1)), np.tile(np.arange(4.0)[::-1], (2, 1))
    rising[:, 2] = 9
    found = {variant: influence(falling if variant == "noun.v2v" else rising) for variant in VARIANTS}
    none = dict.fromkeys(VARIANTS)
    assert choose("sga", 2, found, none).blocks == (2, 3)
    assert choose("spa", 1, found, none) == choose("spa", 1, found, none)
    assert (choose("spa", 1, found, none).blocks, choose("spa", 1, found, none).by) == ((0,), "influential")
    tagged = found | {"verb.v2t": influence(np.full((2, 4), np.nan))}
    assert choose("sga", 1, tagged, none).blocks == (2,), "prompts of tags have no verb: nouns alone decide"
    silent = dict.fromkeys(VARIANTS, tagged["verb.v2t"])
    assert choose("sga", 2, silent, none).blocks == ()
    split = np.array([[0.0, 0.0, 0.9, 1.0], [0.0, 0.0, 0.5, 0.9]])
    told = {variant: gaps(split, [0], [1], (2, 3)) for variant in VARIANTS}
    chosen = choose("sga", 2, found, told)
    assert (chosen.blocks, chosen.by) == ((2,), "dominant"), "block 3 is dominant in no variant"


def test_blocks_that_the_paper_names_come_out_of_a_table_that_says_what_it_says() -> None:
    """42 blocks as CogVideoX-5B-I2V; §4 finds v2t 7 and 11, and v2v 12 (and 19), dominant: of the curves of Fig. 7 no
    number is known here, so the table has only these properties."""
    rng = np.random.default_rng(7)
    base = {variant: rng.uniform(0.01, 0.02, (16, 42)) for variant in VARIANTS}
    named = {"noun.v2t": (7, 11), "verb.v2t": (7, 11), "noun.v2v": (12, 19), "verb.v2v": (12, 19)}
    for variant, blocks in named.items():
        for strength, block in zip((0.1, 0.08), blocks, strict=True):
            base[variant][:8, block] += strength
            base[variant][8:, block] += strength / 3
        base[variant][:, 30] += 0.3  # strong, and the same whether a clip succeeds: influential, not dominant
    found = {variant: influence(own) for variant, own in base.items()}
    between = {v: gaps(own, range(8), range(8, 16), found[v].influential) for v, own in base.items()}
    for variant, blocks in named.items():
        own = between[variant]
        assert own is not None and own.dominant == blocks
        assert 30 in found[variant].influential
    assert choose("sga", 2, found, between) == Choice((7, 11), "dominant")
    assert choose("spa", 1, found, between) == Choice((12,), "dominant")
