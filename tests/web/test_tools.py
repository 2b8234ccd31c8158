"""What a person can do to a clip on its page besides deciding: layers, drawing, swap, cut, merge, a triplet, undo."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Route, expect

from tasks.media.clips import decode_mask
from tasks.review.patches import fold
from tests.web.browser import CHROMIUM, Tab, chromium, served
from tests.web.places import Place

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("tools"), clips=1, frames=5)
    yield made
    made.journal.close()


@pytest.fixture(scope="module")
def ann(place) -> Iterator[Tab]:
    with chromium() as browser, served(place.app) as url:
        tab = Tab(browser, url)
        tab.log_in(place.journal.invite("ann", "reviewer"))
        tab.open(f"/clip/{place.keys[0]}")
        expect(tab.page.locator("#frame")).to_have_text("1 of 4")
        yield tab
        assert tab.problems == []


def test_every_layer_opacity_zoom_and_step_has_a_key(ann):
    for key, box in (("m", "masks"), ("o", "boxes"), ("u", "union"), ("t", "names")):
        shown = ann.page.locator(f"#show-{box}")
        before = shown.is_checked()
        ann.press(key)
        assert shown.is_checked() is not before
        ann.press(key)
    opacity, zoomed = ann.page.locator("#opacity"), ann.page.locator("#zoomed")
    ann.press("]")
    assert opacity.input_value() == "55"
    ann.press("[")
    width = zoomed.bounding_box()["width"]
    ann.press("+")
    assert zoomed.bounding_box()["width"] == pytest.approx(1.25 * width, rel=0.01)
    ann.press("-")
    for key, frame in (("End", 4), ("ArrowLeft", 3), ("Home", 0), ("ArrowRight", 1)):
        ann.press(key)
        expect(ann.page.locator("#frame")).to_have_text(f"{frame} of 4")


def slowly(route: Route) -> None:
    """What is asked reaches the server a little later."""
    time.sleep(0.1)
    route.continue_()


def test_every_tool_does_what_it_says_and_all_is_undone(place, ann):
    (clip,) = place.keys
    shown = place.shown(clip)
    height, width = shown.size

    def patched(act):
        """The operation that is on record after `act`."""
        with ann.page.expect_response(lambda answer: answer.url.endswith("/patch")) as answer:
            act()
        assert answer.value.ok
        expect(ann.page.locator("#status")).to_have_text("")
        return place.journal.patches(clip)["ann"][-1].op

    def mask_of(op) -> np.ndarray:
        assert (op.op, op.id, op.frame, op.by_hand) == ("paint", "id1", 1, True)
        return decode_mask(op.masks[0], height, width)

    before = decode_mask(shown.masks["id1"][1], height, width)
    ys, xs = np.nonzero(before)
    middle = (xs.mean() / width, ys.mean() / height)
    ann.press("1", "e")
    erased = mask_of(patched(lambda: ann.drag(middle, middle)))
    assert erased.sum() < before.sum() and not (erased & ~before).any()

    ann.press("p")
    corners = ((0.8, 0.1), (0.95, 0.1), (0.9, 0.3))
    for corner in corners[:2]:
        ann.drag(corner)
    place_of = ann.page.locator("#overlay").bounding_box()
    at = (place_of["x"] + 0.9 * place_of["width"], place_of["y"] + 0.3 * place_of["height"])
    drawn = mask_of(patched(lambda: ann.page.mouse.dblclick(*at)))
    assert drawn[round(0.15 * height), round(0.88 * width)] and (drawn >= erased).all(), "a polygon adds"

    ann.press("r")
    boxed = mask_of(patched(lambda: ann.drag((0.1, 0.1), (0.3, 0.4))))
    ys, xs = np.nonzero(boxed)
    assert boxed.sum() == (np.ptp(ys) + 1) * (np.ptp(xs) + 1)
    assert abs(xs.min() - 0.1 * width) < 3 and abs(ys.max() - 0.4 * height) < 3, "a box replaces"

    def with_other(key: str):
        ann.press(key)
        expect(ann.page.locator("#status")).to_contain_text("with which? press")
        ann.press("2")

    ann.press("Escape", "ArrowRight")
    expect(ann.page.locator("#frame")).to_have_text("2 of 4")
    swapped = patched(lambda: with_other("w"))
    assert (swapped.op, swapped.id, swapped.other, swapped.frame) == ("swap", "id1", "id2", 2)
    cut = patched(lambda: ann.press("x"))
    assert (cut.op, cut.id, cut.to, cut.frame) == ("give", "id1", None, 2)
    merged = patched(lambda: with_other("j"))
    assert (merged.op, merged.id, merged.to) == ("give", "id1", "id2")

    ann.page.get_by_role("button", name="Edit").first.click()
    ann.page.get_by_label("contact").select_option("1")
    edited = patched(lambda: ann.page.get_by_role("button", name="Keep").click())
    assert edited.op == "act" and edited.act.rating.contact == 1

    done = place.journal.patches(clip)["ann"]
    assert len(done) == 7
    ann.page.route("**/patch", slowly)
    ann.press(*"z" * len(done))  # faster than the server answers
    expect(ann.page.locator("[data-action=undo]")).to_be_disabled()
    ann.page.unroute("**/patch", slowly)
    assert [patch.op.op for patch in place.journal.patches(clip)["ann"][len(done) :]] == ["undo"] * len(done)
    state = fold(place.journal.patches(clip)["ann"], shown.digests)
    assert state.edits == () and patched(lambda: ann.press("y")).op == "redo"
    assert len(fold(place.journal.patches(clip)["ann"], shown.digests).edits) == 1


def test_a_key_is_of_the_track_that_comes_next_before_the_server_has_answered(place, ann):
    (clip,) = place.keys
    ids = list(place.shown(clip).masks)
    said = len(place.journal.patches(clip)["ann"])
    ann.page.route("**/patch", slowly)
    ann.press("1", *"a" * len(ids))
    ann.decided()
    ann.page.unroute("**/patch", slowly)
    done = [patch.op for patch in place.journal.patches(clip)["ann"][said:]]
    assert [(op.op, op.id, op.decision) for op in done] == [("decide", own, "accept") for own in ids]
