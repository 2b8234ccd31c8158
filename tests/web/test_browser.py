"""The review page as a person uses it, in the system's Chromium: keyboard, brush, tracker, frame by frame."""

import json
import time

import numpy as np
import pytest

from tasks.media.clips import decode_mask
from tests.builders import COLOURS
from tests.web.browser import CHROMIUM, browser, served
from tests.web.places import Place

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("browser"), clips=4)
    yield made
    made.journal.close()


@pytest.fixture(scope="module")
def page(place, tmp_path_factory):
    token = place.journal.invite("ann", "reviewer")
    with served(place.app) as url, browser(tmp_path_factory.mktemp("chromium")) as tab:
        tab.url = url
        tab.go(f"{url}/login")
        tab.run(f"document.querySelector('[name=token]').value = {json.dumps(token)}")
        tab.run("document.querySelector('form button').click()")
        tab.wait("document.querySelector('table')")
        yield tab
        assert tab.errors == [], "the policy lets nothing foreign run, and nothing of ours needs it"


SAID = "[...document.querySelectorAll('.said')]"
DECIDED = f"{SAID}.length && {SAID}.every(e => e.textContent)"

PIXELS = """(() => {
  const v = document.getElementById('video'), c = new OffscreenCanvas(v.videoWidth, v.videoHeight);
  const p = c.getContext('2d');
  p.drawImage(v, 0, 0);
  return [...p.getImageData(0, 0, c.width, c.height).data];
})()"""

PLACE = """(() => {
  const r = document.getElementById('overlay').getBoundingClientRect();
  return [r.left, r.top, r.width, r.height];
})()"""

NAMELESS = """[...document.querySelectorAll('button, input, select, video')]
  .filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"""


def opened(page, path):
    page.go(f"{page.url}{path}")
    ready(page)


def ready(page):
    page.wait("document.body.dataset.ready === 'yes' && document.getElementById('frame').textContent.includes('of')")
    return page.run("document.getElementById('review').dataset.clip")


def press(page, key, until):
    page.press(key, "\r" if key == "Enter" else "")
    page.wait(until)


def test_easy_clips_by_keyboard_alone(place, page):
    opened(page, "/next")
    for _ in range(2):
        clip = ready(page)
        press(page, "q", DECIDED)
        press(page, "Enter", f"document.getElementById('review')?.dataset.clip !== {json.dumps(clip)}")
        ready(page)
        assert place.journal.patches(clip)["ann"][-1].op.op == "finish"


def test_what_is_drawn_is_of_the_frame_that_is_shown(place, page):
    clip = place.keys[-1]
    seed = list(place.cases).index(clip)
    opened(page, f"/clip/{clip}")
    shown = place.shown(clip)
    truth = np.stack([decode_mask(m, *shown.size) for m in shown.masks["id1"]])
    hidden = np.stack([decode_mask(m, *shown.size) for m in shown.masks["id2"]])
    for frame in (1, 2, 3, 4, 5):
        page.wait(f"document.getElementById('frame').textContent === '{frame} of 8'")
        picture = np.array(page.run(PIXELS)).reshape(*shown.size, 4)[..., :3]
        seen = np.abs(picture - np.array(COLOURS[seed % 4][1])).max(-1) < 60
        fits = [(seen & m).sum() / (seen | (m & ~h)).sum() for m, h in zip(truth, hidden, strict=True)]
        assert int(np.argmax(fits)) == frame, fits
        page.press("ArrowRight")


def test_a_track_is_dropped_with_a_reason_and_taken_back(place, page):
    opened(page, f"/clip/{place.keys[-1]}")
    page.press("2")
    press(page, "d", "document.getElementById('why').open")
    press(page, "1", f"{SAID}.some(e => e.textContent.includes('drop · drift'))")
    press(page, "z", f"{SAID}.every(e => e.textContent === '')")
    press(page, "y", f"{SAID}.some(e => e.textContent.includes('drop · drift'))")
    press(page, "z", f"{SAID}.every(e => e.textContent === '')")


def test_a_mask_is_mended_by_brush_and_tracked_on_from(place, page):
    clip = place.keys[-1]
    opened(page, f"/clip/{clip}")
    page.press("1")
    page.press("b")
    left, top, wide, high = page.run(PLACE)
    page.drag((left + 0.8 * wide, top + 0.1 * high), (left + 0.9 * wide, top + 0.1 * high))
    page.wait(f"{SAID}.some(e => e.textContent.includes('mended'))")
    patch = place.journal.patches(clip)["ann"][-1].op
    number = len(place.journal.patches(clip)["ann"])
    before = decode_mask(place.shown(clip).masks["id1"][patch.frame], *place.shown(clip).size)
    after = decode_mask(patch.masks[0], *place.shown(clip).size)
    height, width = before.shape
    assert (
        after[round(0.1 * height), round(0.85 * width)]
        and (after >= before).all()
        and after.sum() < 2 * before.sum() + 900
    )
    press(page, "Escape", "document.getElementById('status').textContent === 'let go'")
    page.press("g")
    deadline = time.monotonic() + 120
    while len(place.journal.patches(clip)["ann"]) == number and time.monotonic() < deadline:
        time.sleep(0.05)
    patch = place.journal.patches(clip)["ann"][-1].op
    assert (patch.op, patch.by_hand, len(patch.masks)) == ("paint", False, 7)
    page.press("g")
    page.press("Escape")
    page.wait("document.getElementById('status').textContent === 'let go'")


def test_everything_has_a_name_and_fits_the_window(place, page):
    opened(page, f"/clip/{place.keys[-1]}")
    bare = page.run(NAMELESS)
    assert bare == []
    assert page.run("document.documentElement.scrollWidth <= 1280 && document.documentElement.scrollHeight <= 720")
