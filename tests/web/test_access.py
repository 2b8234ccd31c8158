"""The pages for people who use a screen reader, a keyboard, a small window, or who cannot tell the colours apart."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from tasks.media.clips import encode_mask
from tests.builders import make_dataset
from tests.web.browser import CHROMIUM, PACK, Tab, served, unpacked
from tests.web.places import Place
from web import audit, explore
from web.samples import Samples
from web.store import Build

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")]

NAMELESS = """() => [...document.querySelectorAll(
  'button, input:not([type=hidden]), select, video, a, dialog, canvas:not([aria-hidden=true]), [role]'
)].filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length || e.role === 'status'))
  .map(e => e.outerHTML)"""

FITS = "() => document.documentElement.scrollWidth <= innerWidth"

WHOLE = "() => document.documentElement.scrollHeight <= innerHeight"

PICTURES = """async ({ counts, width, height, tracks }) => {
  const { Stage } = await import('/static/stage.js');
  const clip = { width, height };
  return Array.from({ length: tracks }, (_, n) => {
    const track = { id: `id${n + 1}`, colour: '#808080', masks: [counts] };
    const { canvas } = Stage.prototype.picture.call({ clip, pictures: new Map() }, track, n, 0);
    const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
    return (PACK)(data.filter((_, i) => i % 4 === 3));
  });
}""".replace("PACK", PACK)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("access"), clips=2, frames=5)
    made.person("ann").judge(made.keys[0])
    folder = Build(made.out).dataset.uri.removeprefix(f"{made.out}/")
    make_dataset(Path(made.out), list(made.cases.values()), dest=folder)
    yield made
    made.journal.close()


@pytest.fixture(scope="module")
def root(place, browser) -> Iterator[Tab]:
    with served(place.app) as url:
        tab = Tab(browser, url)
        tab.log_in(place.journal.invite("root", "admin"))
        yield tab
        assert tab.problems == []


def is_fit(tab: Tab, *paths: str) -> None:
    for path in paths:
        tab.page.goto(path)
        if tab.page.locator("#video").count():
            tab.page.locator("body[data-ready=yes]").wait_for()
        assert tab.page.evaluate(NAMELESS) == [], path
        assert tab.page.evaluate(FITS) and (tab.page.evaluate(WHOLE) or not tab.page.locator("#video").count()), path


def test_every_page_says_what_its_parts_are_and_fits_1280_by_720(place, root, browser, tmp_path):
    key = place.keys[0]
    is_fit(root, "/", "/people", "/trail", f"/clip/{key}")
    with served(audit.create_app(Build(place.out), tmp_path / "a", 1, 0)) as url:
        is_fit(Tab(browser, url), "/")
    samples = Samples(Build(place.out).dataset)
    with served(explore.create_app([samples, samples])) as url:
        is_fit(Tab(browser, url), "/", f"/a/sample/{key}")


def test_a_screen_reader_is_told_of_tracks_decisions_and_what_is_refused(place, root):
    root.open(f"/clip/{place.keys[1]}")
    tracks = root.page.get_by_role("listbox", name="tracks")
    noun = place.shown(place.keys[1]).case.results[1].instances[0].noun
    expect(tracks.get_by_role("option", name=f"id1 {noun}, no decision")).to_have_attribute("aria-selected", "true")
    root.press("a")
    expect(tracks.get_by_role("option", name=f"id1 {noun}, accept")).to_have_attribute("aria-selected", "false")
    root.press("Enter")
    expect(root.page.locator("#status[role=status]")).to_have_text("id2 has no decision yet")
    root.problems.remove(next(told for told in root.problems if "422" in told))


def test_a_key_is_a_shortcut_only_where_it_is_not_typed_and_not_the_browsers(place, root):
    clip = place.keys[1]
    root.open(f"/clip/{clip}")
    said = place.journal.patches(clip)["root"]
    for keys in ("Control+a", "Control+f", "Alt+d", "Control+Shift+r"):
        root.press(keys)
        root.page.wait_for_load_state()
    root.page.get_by_role("button", name="Edit").first.click()
    verb = root.page.get_by_label("verb")
    verb.fill("")
    verb.press_sequentially("adfqzxj 1-9")
    assert verb.input_value() == "adfqzxj 1-9"
    root.page.get_by_role("button", name="Leave").click()
    play = root.page.get_by_role("button", name="Play")
    play.focus()
    play.press("Enter")  # it presses the button, and does not end the clip
    root.ready()
    assert root.page.url.endswith(clip) and place.journal.patches(clip)["root"] == said


def test_tracks_are_told_apart_without_their_colours(root):
    """Five masks, as many as a clip of the paper has, of one shape and one grey: each has a texture of its own."""
    mask = np.zeros((96, 144), bool)
    mask[20:76, 30:110] = True
    given = {"counts": encode_mask(mask), "width": 144, "height": 96, "tracks": 5}
    drawn = np.stack([unpacked(one).reshape(96, 144) for one in root.page.evaluate(PICTURES, given)])
    assert not drawn[:, ~mask].any()
    for one, other in itertools.combinations(drawn, 2):
        assert (one != other)[mask].mean() > 0.2
