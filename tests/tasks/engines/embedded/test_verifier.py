"""The embedded verifier on drawn pictures: colour, place and outline, and null when in doubt."""

import asyncio

import numpy as np
import pytest

from schemas import Box, Instance
from tasks.engines.base import VerdictReply, VerifyRequest
from tasks.engines.embedded.verifier import EmbeddedVerifier
from tasks.verify.search import padded_crop
from tests.tasks.engines.embedded import drawings as d


def ask(picture: d.Picture, box: Box, *nouns: str, cls: str = "ball", app: str = "", spatial: str = "") -> VerdictReply:
    candidates = tuple(
        Instance(id=f"id{k}", cls=cls, noun=noun, app=app, spatial=spatial) for k, noun in enumerate(nouns, 1)
    )
    request = VerifyRequest(picture, padded_crop(picture, box, 0.08), box, cls, candidates)
    return asyncio.run(EmbeddedVerifier().verify(request))


@pytest.mark.parametrize(("colour", "id_"), [(d.RED, "id1"), (d.BLUE, "id2")])
def test_the_colour_says_which_of_a_pair_it_is(colour: d.Rgb, id_: str):
    picture = d.ground()
    box = d.ball(picture, 90, 150, 20, colour)
    reply = ask(picture, box, "red ball", "blue ball")
    assert reply.assigned_id == id_ and reply.confidence > 0.7
    assert "red" in reply.rationale or "blue" in reply.rationale


def test_none_where_no_candidate_has_the_colour():
    picture = d.ground()
    box = d.ball(picture, 90, 150, 20, d.GREEN)
    assert ask(picture, box, "red ball", "blue ball").assigned_id is None


def test_none_where_two_fit_alike():
    picture = d.ground()
    box = d.ball(picture, 90, 150, 20, d.RED)
    reply = ask(picture, box, "small red ball", "other red ball")
    assert reply.assigned_id is None and "alike" in reply.rationale


@pytest.mark.parametrize(("x", "id_"), [(70, "id1"), (290, "id2"), (180, None)])
def test_place_tells_twins_apart_and_the_middle_is_neither(x: int, id_: str | None):
    picture = d.ground()
    box = d.ball(picture, x, 150, 20, d.RED)
    assert ask(picture, box, "red ball on the left", "red ball on the right").assigned_id == id_


def test_a_place_that_does_not_fit_is_refused_even_without_a_rival():
    picture = d.ground()
    box = d.ball(picture, 290, 150, 20, d.RED)
    assert ask(picture, box, "red ball", spatial="The ball is on the left.").assigned_id is None


def test_colours_of_the_appearance_count_too():
    picture = d.ground()
    box = d.person(picture, 120, 200, 120, d.GREEN)
    assert ask(picture, box, "man", cls="man", app="The man wears a green shirt.").assigned_id == "id1"
    assert ask(picture, box, "man", cls="man", app="The man wears a red shirt.").assigned_id is None


def test_a_piece_of_a_thing_is_refused():
    picture = d.ground()
    d.ball(picture, 90, 150, 30, d.RED)
    assert ask(picture, Box(x0=60, y0=120, x1=92, y1=181), "red ball").assigned_id is None


def test_the_wrong_outline_is_refused():
    picture = d.ground()
    box = d.person(picture, 120, 200, 120, d.RED)
    assert ask(picture, box, "red ball", cls="ball").assigned_id is None
    thing = d.ball(picture, 260, 150, 20, d.RED)
    assert ask(picture, thing, "man in red", cls="man").assigned_id is None


def test_without_colour_a_known_outline_will_do_and_an_unknown_one_will_not():
    picture = d.ground()
    box = d.ball(picture, 90, 150, 20, d.RED)
    assert ask(picture, box, "ball").assigned_id == "id1"
    assert ask(picture, box, "gizmo", cls="gizmo").assigned_id is None


def test_in_clutter_the_colour_must_be_plainly_rarer_around_the_box():
    picture = d.clutter()
    box = d.ball(picture, 90, 150, 24, d.RED)
    assert ask(picture, box, "red ball").assigned_id == "id1"
    assert ask(picture, box, "gray ball").assigned_id is None
    assert ask(picture, Box(x0=200, y0=100, x1=260, y1=160), "red ball").assigned_id is None
    assert ask(picture, Box(x0=0, y0=0, x1=d.WIDTH, y1=d.HEIGHT), "red ball").assigned_id is None


def test_an_empty_place_shows_nobody():
    picture = np.full((96, 144, 3), 120, dtype=np.uint8)
    assert ask(picture, Box(x0=20, y0=20, x1=60, y1=60), "red ball").assigned_id is None
