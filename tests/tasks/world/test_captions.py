"""Captions: every span means what it says, and only interactions become triplets."""

import random
from collections import Counter

import pytest

from schemas import Span
from tasks.world.acts import Act
from tasks.world.captions import Caption, write_caption
from tasks.world.phrases import Actor
from tasks.world.plots import Plot, make_plot
from tasks.world.words import COLOURS, KIND, PRONOUNS, VERBS

PRONOUN_WORDS = {"it", *(word for forms in PRONOUNS.values() for word in forms[:2])}
VERB = {verb.lemma: verb for verb in VERBS}
MAN = Actor("m", "man", "red", adjective="young", garment="shirt")
BOX = Actor("b", "box", "blue")
DOG = Actor("d", "dog", "brown")
STICK = Actor("s", "stick", "green")


def spoken(seed: int, silent: bool = False) -> tuple[Plot, Caption]:
    rng = random.Random(seed)
    plot = make_plot(rng, "plain", silent)
    extras = [e for e, _ in plot.extras if e.key in plot.spoken]
    return plot, write_caption(plot.cast, plot.acts, plot.link, rng, extras, "street")


def words(text: str, spans: tuple[Span, ...]) -> list[str]:
    return [text[s.start : s.end] for s in spans]


@pytest.mark.parametrize("seed", range(150))
def test_roles_are_noun_mentions_and_verbs_are_inflected_forms(seed: int) -> None:
    plot, caption = spoken(seed)
    actors = {a.key: a for a in plot.cast}
    assert caption.triplets
    for triplet in caption.triplets:
        for key, spans in ((triplet.subject, triplet.spans.subject), (triplet.object, triplet.spans.object)):
            (text,) = words(caption.text, spans)
            assert spans[0] in caption.mentions[key]
            assert actors[key].cls in text.split()
            assert text.split()[0].lower() not in ("a", "an", "the", "another")
        said = " ".join(words(caption.text, triplet.spans.verb)).lower().split()
        act = plot.acts[triplet.act]
        forms = [act.verb, VERB["use"], VERB["catch"]]
        assert any({v.base, v.third, v.gerund, v.participle} & set(said) for v in forms)
        assert triplet.subject != triplet.object
        assert KIND[actors[triplet.subject].cls] in ("person", "animal")


@pytest.mark.parametrize("seed", range(80))
def test_mentions_are_phrases_or_pronouns(seed: int) -> None:
    plot, caption = spoken(seed)
    actors = {a.key: a for a in (*plot.cast, *(e for e, _ in plot.extras))}
    for key, spans in caption.mentions.items():
        for text in words(caption.text, spans):
            actor = actors[key]
            assert text.lower() in PRONOUN_WORDS or actor.cls in text.split()
            for colour in set(text.split()) & set(COLOURS):
                assert colour == actor.colour


@pytest.mark.parametrize("seed", range(40))
def test_a_caption_without_interaction_has_no_triplets(seed: int) -> None:
    _, caption = spoken(seed, silent=True)
    assert caption.triplets == ()
    assert caption.text.endswith(".")


def test_every_kind_of_sentence_occurs() -> None:
    seen: Counter[str] = Counter()
    motions = set()
    for seed in range(1200):
        plot, caption = spoken(seed)
        motions |= {act.verb.motion for act in plot.acts}
        seen[plot.link] += 1
        seen["passive"] += " by " in caption.text
        verbs = [w for t in caption.triplets for w in words(caption.text, t.spans.verb)]
        seen["progressive"] += any(" is " in f" {verb} " for verb in verbs)
        seen["split"] += any(len(t.spans.verb) > 1 for t in caption.triplets)
        seen["relative"] += ", who " in caption.text or " that " in caption.text
        seen["pronoun"] += any(w in caption.text.split() for w in ("it", "him", "her", "He", "She"))
        seen["instrument"] += any(act.instrument is not None for act in plot.acts)
        seen["place"] += any(a.place != "" for a in plot.cast)
        seen["no colour"] += any(not a.say_colour for a in plot.cast)
        pairs = Counter(a.cls for a in plot.cast)
        seen["same class"] += max(pairs.values()) > 1
    assert len(motions) >= 12
    assert all(seen[kind] >= 5 for kind in (
        "single", "then", "while", "chain", "passive", "progressive", "split", "relative", "pronoun", "instrument",
        "place", "no colour", "same class",
    )), seen  # fmt: skip


def test_an_instrument_gives_triplets_over_three_ids() -> None:
    for seed in range(20):
        acts = [Act(VERB["push"], "m", "b", instrument="s")]
        caption = write_caption([MAN, BOX, STICK], acts, "single", random.Random(seed))
        told = {(t.subject, t.verb, t.object) for t in caption.triplets}
        assert ("m", "push", "b") in told
        assert told - {("m", "push", "b")} in ({("m", "use", "s")}, {("m", "push with", "s")})


def test_a_throw_names_the_thing_and_the_third_party() -> None:
    act = Act(VERB["throw"], "m", "b", recipient="d", catch=VERB["catch"])
    for seed in range(20):
        caption = write_caption([MAN, BOX, DOG], [act], "single", random.Random(seed))
        assert {(t.subject, t.verb, t.object) for t in caption.triplets} == {
            ("m", "throw", "b"), ("m", "throw to", "d"), ("d", "catch", "b"),
        }  # fmt: skip


def test_a_pronoun_leaves_the_role_to_the_noun_before_it() -> None:
    acts = [Act(VERB["pick up"], "m", "b"), Act(VERB["carry"], "m", "b")]
    for seed in range(30):
        caption = write_caption([MAN, BOX], acts, "then", random.Random(seed))
        for triplet in caption.triplets:
            assert words(caption.text, triplet.spans.object)[0].endswith("box")
            assert "man" in words(caption.text, triplet.spans.subject)[0]


def test_acts_must_fit_the_link() -> None:
    with pytest.raises(ValueError, match="cannot be linked"):
        write_caption([MAN, BOX], [Act(VERB["push"], "m", "b")], "while", random.Random(0))
