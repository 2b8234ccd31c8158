"""Videos that look alike are a group, in any order of arrival, and one on record stays in its group for good."""

import itertools
import random

from tasks.dataset.split import split_of
from tasks.dedupe.groups import Kin, group_sources

SHARE = 0.4


def source(number: int) -> str:
    return f"{number:016x}"


KNOWN = {source(n): source(n) for n in range(40)}
"""Sources on record, each a group of its own."""


def grouped(
    *links: tuple[str, str], alone: tuple[str, ...] = (), known: dict[str, str] | None = None
) -> dict[str, Kin]:
    return group_sources(links, {*itertools.chain(*links), *alone}, known or {})


def test_a_source_that_nothing_is_near_to_is_a_group() -> None:
    assert grouped(alone=(source(1), source(2))) == {n: Kin(n) for n in (source(1), source(2))}


def test_a_chain_is_one_group_whatever_its_order() -> None:
    chain = [source(n) for n in (7, 3, 9, 5, 8)]
    links = list(itertools.pairwise(chain))
    for seed in range(20):
        rng = random.Random(seed)
        some = [pair if rng.random() < 0.5 else pair[::-1] for pair in rng.sample(links, len(links))]
        assert grouped(*some) == dict.fromkeys(chain, Kin(source(3)))


def test_what_is_linked_by_nothing_stands_apart() -> None:
    found = grouped((source(1), source(2)), (source(4), source(3)), alone=(source(9),))
    assert {s: kin.group for s, kin in found.items()} == {
        source(1): source(1), source(2): source(1), source(3): source(3), source(4): source(3), source(9): source(9),
    }  # fmt: skip


def test_new_videos_follow_those_on_record_and_those_stay() -> None:
    known = {**KNOWN, source(5): source(2)}
    new = source(0xAA0), source(0xAA1), source(0xAA2)
    found = grouped((new[0], source(7)), (new[1], new[0]), (new[2], source(5)), known=known)
    assert found == {new[0]: Kin(source(7)), new[1]: Kin(source(7)), new[2]: Kin(source(2))}
    assert grouped((new[0], source(7)), (source(7), source(3)), known=known) == {new[0]: Kin(source(7))}


def test_of_several_groups_the_first_is_taken_and_who_is_near_the_others_says_so() -> None:
    new = [source(0xAA0 + n) for n in range(4)]
    links = [*itertools.pairwise(new), (source(8), new[0]), (new[1], source(30)), (source(8), new[1])]
    assert grouped(*links, known=KNOWN) == {
        new[0]: Kin(source(8)), new[1]: Kin(source(8), (source(30),)), new[2]: Kin(source(8)), new[3]: Kin(source(8))
    }  # fmt: skip
    one = source(0xAA9)
    assert grouped((one, source(5)), (one, source(9)), (source(3), one), known=KNOWN) == {
        one: Kin(source(3), (source(5), source(9)))
    }


def test_a_group_that_is_named_after_none_of_those_linked_is_followed_all_the_same() -> None:
    known = {source(7): source(2), source(9): source(2)}
    new = source(0xAA0)
    assert grouped((new, source(7)), (new, source(9)), known=known) == {new: Kin(source(2))}


def test_any_growth_moves_nothing_and_keeps_sides_apart_but_for_those_that_say_so() -> None:
    bridges = 0
    for seed in range(30):
        rng = random.Random(seed)
        known: dict[str, Kin] = {}
        links, fresh = list[tuple[str, str]](), list[tuple[str, str]]()
        new: set[str] = set()
        seen: list[str] = []
        for number in rng.sample(range(1000), 60):
            for _ in range(3):
                if seen and rng.random() < 0.25:
                    fresh.append((source(number), rng.choice(seen)))
            seen.append(source(number))
            new.add(source(number))
            if rng.random() < 0.2:  # a build
                found = group_sources(fresh, new, {s: kin.group for s, kin in known.items()})
                assert found.keys() == new
                shuffled = rng.sample(fresh, len(fresh))
                assert group_sources(shuffled, new, {s: kin.group for s, kin in known.items()}) == found
                known |= found
                links += fresh
                new, fresh = set(), []

        def side(group: str) -> str:
            return split_of(group, SHARE)

        apart = {s for s, kin in known.items() if any(side(other) != side(kin.group) for other in kin.near)}
        bridges += len(apart)
        for one, two in links:
            assert side(known[one].group) == side(known[two].group) or apart & {one, two}
    assert bridges > 5
