"""The pages as people use them, in the system's Chromium: one story of a review, from the log-in to the shards.

The tests are steps of that story and run in the order of the file: what ann finishes goes to bob, where the two differ
root decides, a build then takes it all, and its dataset is explored and compared.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import expect

from flows.batches import run_batch
from flows.chunk import Chunk
from flows.cli.comparing import compare
from flows.legs import SPECS
from schemas import Tracked
from schemas.labels import read_labels
from tasks.media.clips import decode_mask
from tasks.outcome import Case
from tests.builders import COLOURS
from tests.web.browser import CHROMIUM, PACK, Tab, served, unpacked
from tests.web.places import CHUNK, Place
from web.explore import create_app
from web.samples import Samples

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")]

PIXELS = """() => {
  const v = document.getElementById('video'), c = new OffscreenCanvas(v.videoWidth, v.videoHeight);
  const p = c.getContext('2d');
  p.drawImage(v, 0, 0);
  return (PACK)(p.getImageData(0, 0, c.width, c.height).data);
}""".replace("PACK", PACK)

DRAWN = """() => {
  const c = document.getElementById('overlay');
  return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v);
}"""

FITS = "() => document.documentElement.scrollWidth <= 1280 && document.documentElement.scrollHeight <= 720"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Place]:
    """Five clips; every accepted one goes to a second person."""
    made = Place(tmp_path_factory.mktemp("browser"), clips=5, second_share=1.0)
    yield made
    made.journal.close()


@pytest.fixture(scope="module")
def url(place) -> Iterator[str]:
    with served(place.app) as address:
        yield address


@pytest.fixture(scope="module")
def ann(place, browser, url) -> Iterator[Tab]:
    tab = Tab(browser, url)
    tab.log_in(place.journal.invite("ann", "reviewer"))
    yield tab
    assert tab.problems == [], "the policy lets nothing foreign run, and nothing of ours needs it"


@pytest.fixture(scope="module")
def bob(place, browser, url) -> Tab:
    tab = Tab(browser, url)
    tab.log_in(place.journal.invite("bob", "reviewer"))
    return tab


@pytest.fixture(scope="module")
def queue(ann) -> list[str]:
    """The clips as the queue had them before anybody said a word: two that are easy, one to mend, and two more."""
    return ann.page.locator("tbody code").all_inner_texts()


def last(place: Place, clip: str, who: str):
    return place.journal.patches(clip)[who][-1].op


def test_who_is_nobody_is_let_in_nowhere(browser, url):
    tab = Tab(browser, url)
    tab.page.goto("/people")
    tab.page.locator("[name=token]").fill("made-up")
    tab.page.locator("form button").click()
    expect(tab.page.locator("body")).to_contain_text("--invite NAME")
    expect(tab.page.locator("body")).to_contain_text("Nobody has that token")


def test_easy_clips_by_keyboard_alone(place, ann, queue):
    ann.open("/next")
    for clip in queue[:2]:
        assert ann.ready() == clip, "doubt first"
        ann.press("q")
        ann.decided()
        assert ann.finish() != clip and last(place, clip, "ann").op == "finish"


def test_what_is_drawn_is_of_the_frame_that_is_shown(place, ann):
    clip = max(list(place.cases)[:4])  # one whose frames can be told apart by the colour of the actor alone
    seed = list(place.cases).index(clip)
    ann.open(f"/clip/{clip}")
    shown = place.shown(clip)
    truth = np.stack([decode_mask(m, *shown.size) for m in shown.masks["id1"]])
    hidden = np.stack([[decode_mask(m, *shown.size) for m in shown.masks[i]] for i in ("id2", "id3")]).any(0)
    for frame in (1, 2, 3, 4, 5):
        expect(ann.page.locator("#frame")).to_have_text(f"{frame} of 8")
        picture = unpacked(ann.page.evaluate(PIXELS)).reshape(*shown.size, 4)[..., :3]
        seen = np.abs(picture.astype(int) - np.array(COLOURS[seed % 4][1])).max(-1) < 60
        fits = [(seen & m).sum() / (seen | (m & ~h)).sum() for m, h in zip(truth, hidden, strict=True)]
        assert int(np.argmax(fits)) == frame, fits
        ann.press("ArrowRight")


def test_a_track_is_dropped_with_a_reason_and_taken_back(ann, queue):
    ann.open(f"/clip/{queue[2]}")
    said = ann.page.locator(".said").nth(1)
    ann.press("2", "d")
    expect(ann.page.locator("#why")).to_be_visible()
    ann.press("1")
    expect(said).to_have_text("drop · drift")
    for key, words in (("z", ""), ("y", "drop · drift"), ("z", "")):
        ann.press(key)
        expect(said).to_have_text(words)


def test_a_mask_is_mended_by_brush_and_tracked_on_from(place, ann, queue):
    clip, status = queue[2], ann.page.locator("#status")
    shown = place.shown(clip)
    ann.open(f"/clip/{clip}")
    expect(ann.page.locator("#frame")).to_have_text("1 of 8")
    ann.press("1", "b")
    ann.drag((0.8, 0.1), (0.9, 0.1))
    expect(ann.page.locator(".said").first).to_have_text("mended")
    painted = last(place, clip, "ann")
    before, after = (decode_mask(m, *shown.size) for m in (shown.masks["id1"][1], painted.masks[0]))
    height, width = before.shape
    assert (painted.id, painted.frame, painted.by_hand) == ("id1", 1, True)
    assert after[round(0.1 * height), round(0.85 * width)] and (after >= before).all()
    assert after.sum() < 2 * before.sum() + 900
    ann.press("Escape")
    expect(status).to_have_text("let go")
    with ann.page.expect_response(lambda answer: answer.url.endswith("/patch")):
        ann.press("g")
    tracked = last(place, clip, "ann")
    assert (tracked.op, tracked.frame, tracked.by_hand, len(tracked.masks)) == ("paint", 2, False, 7)


def test_a_tracker_that_is_let_go_changes_nothing(place, ann, queue):
    clip = queue[2]
    ann.open(f"/clip/{clip}")
    ann.press("1")
    said = place.journal.patches(clip)["ann"]
    with ann.page.expect_response(lambda answer: answer.url.endswith("/cancel")):
        ann.press("g", "Escape")
    expect(ann.page.locator("#status")).to_have_text("let go")
    ann.open(f"/clip/{clip}")
    assert place.journal.patches(clip)["ann"] == said


def test_a_stroke_over_a_playing_video_is_of_the_frame_where_it_began(place, ann, queue):
    clip = queue[2]
    before = place.shown(clip).masks["id2"]
    ann.open(f"/clip/{clip}")
    ann.press("2", "b", " ")
    expect(ann.page.locator("#frame")).not_to_have_text("1 of 8")
    overlay = ann.page.locator("#overlay").bounding_box()
    assert overlay is not None
    ann.page.mouse.move(overlay["x"] + 0.9 * overlay["width"], overlay["y"] + 0.1 * overlay["height"])
    ann.page.mouse.down()
    ann.page.wait_for_timeout(400)  # three frames, were it still playing
    with ann.page.expect_response(lambda answer: answer.url.endswith("/patch")):
        ann.page.mouse.up()
    painted = last(place, clip, "ann")
    was, now = (decode_mask(m, *place.shown(clip).size) for m in (before[painted.frame], painted.masks[0]))
    dab = np.argwhere(now & ~was)
    assert not (was & ~now).any() and len(dab) and (np.ptp(dab, axis=0) <= 16).all(), "one dab beside the mask of then"
    expect(ann.page.locator("#frame")).to_have_text(f"{painted.frame} of 8")
    ann.press("z")
    expect(ann.page.locator(".said").nth(1)).to_have_text("")


def test_two_at_one_clip(place, ann, bob, queue):
    clip = queue[2]
    bob.open(f"/clip/{clip}")
    expect(bob.page.locator("#status")).to_have_text("ann is at this clip")
    bob.press("d", "1")
    expect(bob.page.locator("#status")).to_have_class("problem")
    assert set(place.journal.patches(clip)) == {"ann"}
    assert bob.problems and all("409" in told for told in bob.problems), "what was refused, and nothing else"
    ann.open(f"/clip/{clip}")
    ann.press("1", "f", "1")
    expect(ann.page.locator(".said").first).to_contain_text("fix · ")
    ann.press("q")
    ann.decided()
    ann.finish()


def test_a_second_person_sees_none_of_the_first_ones_words_and_differs_on_two(place, bob, queue):
    for clip in queue[:3]:
        bob.open(f"/clip/{clip}")
        expect(bob.page.locator(".said:not(:empty)")).to_have_count(0)
        if clip == queue[1]:
            bob.drop(2)
        bob.press("q")
        bob.decided()
        bob.finish()
    bob.page.goto("/?need=third")
    assert bob.page.locator("tbody code").all_inner_texts() == queue[1:3], (
        "a track that bob drops, and one that ann mends"
    )


def test_an_admin_decides_and_kappa_is_told(place, browser, url, queue):
    root = Tab(browser, url)
    root.log_in(place.journal.invite("root", "admin"))
    root.open(f"/clip/{queue[1]}")
    root.drop(2)
    root.press("q")
    root.decided()
    root.finish()
    root.open(f"/clip/{queue[2]}")
    root.press("1", "b")
    root.drag((0.8, 0.1), (0.9, 0.1))
    expect(root.page.locator(".said").first).to_have_text("mended")
    root.press("q")
    root.decided()
    root.finish()
    root.page.goto("/people")
    body = root.page.locator("body")
    expect(body).to_contain_text("0: waits for a third")
    everybody = root.page.locator("table").first.locator("tr", has_text="all").locator("td").all_inner_texts()
    assert everybody[2:] == ["78 %", "9"], "one that bob dropped, and one that ann mended and bob accepts"
    names = root.page.locator("table").nth(1).locator("tbody td:first-child").all_inner_texts()
    assert sorted(names) == ["ann", "bob", "root"] and root.problems == []


def build(place: Place) -> list[str]:
    """What a build says that runs its last two stages, `review` and `shard`."""
    told: list[str] = []
    for stage in ("review", "shard"):
        work = place.context.at_work(stage)
        told += SPECS[stage].before(work)
        with place.context.lease(stage, CHUNK):
            run_batch(Chunk(place.context, CHUNK), stage, place.keys)
        told += SPECS[stage].after(work)
    return told


@pytest.fixture(scope="module")
def samples(place, queue) -> Samples:
    """The dataset that a build makes once people are done with three of its clips."""
    build(place)
    return Samples(place.context.dataset)


def test_shards_hold_what_people_decided(place, samples, queue):
    easy, differed, mended = (samples.entry(clip)[:2] for clip in queue[:3])
    assert {(one.id, one.decision) for one in easy[0].review} == {(f"id{n}", "accept") for n in (1, 2, 3)}
    assert set(differed[1].tracks) == {"id1", "id3"} and {one.by for one in differed[0].review} == {"root"}
    assert next(one.decision for one in mended[0].review if one.id == "id1") == "fix"
    painted = next(p.op for p in place.journal.patches(queue[2])["root"] if p.op.op == "paint")
    assert mended[1].tracks["id1"][1].counts == painted.masks[0]


def test_what_is_said_later_lies_beside_the_shards(place, samples, ann, queue):
    clip = queue[3]  # ann was led to it last, and holds it
    ann.open(f"/clip/{clip}")
    for number in (1, 2, 3):
        ann.drop(number)
    ann.finish()
    shards = {name: place.context.dataset.read(name) for name in place.context.dataset.names() if name.endswith("tar")}
    assert any("labels of people lie beside the dataset" in told for told in build(place))
    assert read_labels(place.context.dataset.read).dropped == {clip}
    assert shards and {name: place.context.dataset.read(name) for name in shards} == shards


def test_a_dataset_is_explored_by_a_cell_a_word_and_a_link(samples, browser, queue):
    with served(create_app([samples, samples], ("127.0.0.1",))) as address:
        tab = Tab(browser, address)
        tab.page.goto("/")
        left, right = tab.page.locator(".sides > section").all()
        expect(left.locator("h1")).to_contain_text("5 of 5 samples")
        expect(right.locator("h1")).to_contain_text("5 of 5 samples")
        cell = left.locator(".cells a").first
        held = cell.inner_text()
        cell.click()
        assert "contact=" in tab.page.url and "dynamism=" in tab.page.url
        expect(left.locator("tbody code")).to_have_count(int(held))
        tab.page.get_by_role("link", name="All").click()
        tab.page.get_by_role("spinbutton", name="IDs").fill("2")
        tab.page.get_by_role("button", name="Show").click()
        assert left.locator(".results code").all_inner_texts() == [queue[1]]
        left.locator(".results a").click()
        tab.ready()
        expect(tab.page.locator("#tracks")).to_contain_text("accept by root")
        tab.press("ArrowRight", "ArrowRight")
        expect(tab.page.locator("#frame")).not_to_have_text("0 of 8")
        assert tab.page.evaluate(DRAWN)
        tab.page.get_by_label("masks").uncheck()
        tab.page.get_by_label("names").uncheck()
        assert not tab.page.evaluate(DRAWN) and tab.page.evaluate(FITS) and tab.problems == []


def moved(_: int, case: Case) -> Case:
    """A clip whose first track lies some pixels beside its figure from the fifth frame on."""
    tracked = case.of(Tracked)
    first, second, *_ = tracked.tracks
    masks = (*first.masks[:5], *second.masks[5:])
    return case.plus(
        tracked.model_copy(update={"tracks": (first.model_copy(update={"masks": masks}), *tracked.tracks[1:])})
    )


def test_two_builds_are_compared_on_a_page(place, browser, tmp_path):
    other = Place(tmp_path / "other", clips=2, plant=moved)
    other.journal.close()
    compare(place.out, other.out, str(tmp_path / "c"), show=1)
    tab = Tab(browser, "http://127.0.0.1")
    tab.page.goto((tmp_path / "c" / "compare.html").as_uri())
    expect(tab.page.locator("h1")).to_have_text("Two builds, the same clips")
    expect(tab.page.locator(".card", has_text="clips in both").first).to_contain_text("2")
    expect(tab.page.locator(".clip")).to_have_count(1)
    assert tab.page.locator(".frames img").count() and tab.problems == []
    broken = "() => [...document.images].filter((i) => !i.naturalWidth).length"
    assert tab.page.evaluate(broken) == 0
