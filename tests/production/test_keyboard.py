"""A hundred easy clips, by the keyboard alone: no click and no pointer after the log-in."""

import time

import pytest

from tests.web.browser import CHROMIUM, Tab, chromium, served
from tests.web.places import Place

pytestmark = [
    pytest.mark.production, pytest.mark.long, pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]  # fmt: skip

CLIPS = 100

LOOK_MS = 500
"""What a person looks at a clip at least: who is quicker meets the limit of requests a second (`web/guard.py`)."""


def test_a_hundred_easy_clips_take_two_keys_each(tmp_path, capsys):
    place = Place(tmp_path, clips=CLIPS, frames=5)
    with served(place.app) as url, chromium() as browser:
        ann = Tab(browser, url)
        ann.log_in(place.journal.invite("ann", "reviewer"))
        ann.open("/next")
        clip, seen, began = ann.ready(), list[str](), time.perf_counter()
        while clip:
            seen.append(clip)
            ann.page.wait_for_timeout(LOOK_MS)
            ann.press("q")
            clip = ann.finish()  # at once: the page puts one after the other on record
        wall = time.perf_counter() - began
        assert ann.problems == [], "nothing in the console"
        ann.page.locator("text=All clips are decided").wait_for()
    assert sorted(seen) == place.keys
    for key in place.keys:
        ops = [patch.op for patch in place.journal.patches(key)["ann"]]
        assert [op.op for op in ops] == ["decide"] * 3 + ["finish"] and {op.decision for op in ops[:3]} == {"accept"}
    place.journal.close()
    with capsys.disabled():
        print(
            f"\n{CLIPS} clips, {2 * CLIPS} keys: {wall:.1f} s from the first to the last, {wall / CLIPS:.2f} s a clip"
        )
