"""Text from outside that is markup, wherever text can come from: every page shows it, and none obeys it.

Chromium tells three things: an element that came out of a text, a script that ran, and one that the page's policy
stopped, which would have run on a page without one.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, expect

from flows.cli.comparing import compare
from flows.legs import SPECS
from schemas import Captioned, Curated, Proposed, Tracked, Verified
from tasks.outcome import Case
from tests.builders import make_dataset
from tests.web.browser import CHROMIUM, Tab, served
from tests.web.places import Place
from web import audit, explore
from web.samples import Samples
from web.store import Build

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")]

BAD = "'\"></title><img data-hurt src=x onerror=hurt()><script data-hurt>hurt()</script>"

INJECTED = "() => [...document.querySelectorAll('[data-hurt]')].map((e) => e.outerHTML)"


def hostile(number: int, case: Case) -> Case:
    """The clip with markup in every text that a model, a caption table or a bucket gives."""
    captioned, verified, curated = case.of(Captioned), case.of(Verified), case.of(Curated)
    acts = tuple(
        act.model_copy(
            update={
                "verb": f"{BAD}{n}", "text": f"<{act.subject}> {BAD}{n} <{act.object}>", "source_sentence": BAD,
                "rating": act.rating.model_copy(update={"explanation": f"{BAD} why"}),
            }
        )
        for n, act in enumerate(captioned.interactions)
    )  # fmt: skip
    texts = tuple(act.text for act in acts)
    named = {"cls": BAD, "noun": BAD, "app": BAD, "spatial": BAD}
    source = {"uris": (f"/bucket/{BAD}.mp4",), "dataset": f"{BAD}{number}", "license": BAD}
    clip = case.clip.model_copy(update={"source": case.clip.source.model_copy(update=source)})
    return Case(clip, tuple(one for one in case.results if not isinstance(one, Captioned | Verified | Curated))).plus(
        captioned.model_copy(
            update={
                "instances": tuple(i.model_copy(update=named) for i in captioned.instances), "interactions": acts,
                "caption_by": BAD, "prompts": BAD, "model": BAD,
            }
        ),
        verified.model_copy(
            update={
                "interactions": texts, "verifier": BAD,
                "verdicts": tuple(v.model_copy(update={"rationale": BAD}) for v in verified.verdicts),
            }
        ),
        curated.model_copy(update={"interactions": texts}),
        case.of(Tracked).model_copy(update={"tracker": BAD}),
        case.of(Proposed).model_copy(update={"detector": BAD}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Place]:
    """Two clips, of one of which a reviewer with an odd name has said something."""
    made = Place(tmp_path_factory.mktemp("hostile"), clips=2, frames=5, plant=hostile, note=BAD)
    who = made.person(BAD)
    who.judge(made.keys[0])
    who.claim(made.keys[1])
    make_dataset(
        Path(made.out), list(made.cases.values()), dest=Build(made.out).dataset.uri.removeprefix(f"{made.out}/")
    )
    yield made
    made.journal.close()


class Victim(Tab):
    """Somebody who looks at a page, and what it did to him."""

    def __init__(self, browser: Browser, url: str):
        super().__init__(browser, url)
        self.page.on("dialog", self._dismiss)
        self.page.expose_function("hurt", lambda: self.problems.append("a script ran"))

    def _dismiss(self, box: Dialog) -> None:
        self.problems.append(box.message)
        box.dismiss()

    def sees(self, *paths: str, times: int = 1) -> None:
        """The pages show what is in the texts, as text."""
        for path in paths:
            self.page.goto(path)
            if self.page.locator("#video").count():
                self.page.locator("body[data-ready=yes]").wait_for()
            self.unharmed(times)

    def unharmed(self, times: int = 1) -> None:
        shown = self.page.locator("body").inner_text()
        assert shown.count("<img data-hurt") >= times, shown
        assert self.page.evaluate(INJECTED) == [] and self.problems == []


def test_what_a_page_would_do_is_seen(browser, tmp_path):
    """The trap itself: without escaping all three are told of."""
    (tmp_path / "bad.html").write_text(f"<title>{BAD}</title><p onclick='alert(1)'>x")
    tab = Victim(browser, "http://127.0.0.1")
    tab.page.goto((tmp_path / "bad.html").as_uri())
    tab.page.locator("p").click()
    assert len(tab.page.evaluate(INJECTED)) == 2 and {"a script ran", "1"} <= set(tab.problems)


def test_review_shows_markup_as_text(place, browser):
    clip, held = place.keys
    with served(place.app) as url:
        tab = Victim(browser, url)
        tab.log_in(place.journal.invite("root", "admin"))
        tab.sees("/", times=6)
        tab.sees("/people", "/trail", f"/trail?clip={clip}", f"/clip/{clip}", times=1)
        for row in tab.page.locator(".track").all():
            row.click()
        tab.page.get_by_role("button", name="Edit").first.click()
        assert tab.page.get_by_label("verb").input_value().startswith(BAD)
        tab.unharmed(3)
        tab.page.goto(f"/clip/{held}")
        expect(tab.page.locator("#status")).to_have_text(f"{BAD} is at this clip")
        tab.problems = [said for said in tab.problems if "409" not in said]
        tab.unharmed()


def test_audit_and_explore_show_markup_as_text(place, browser, tmp_path):
    with served(audit.create_app(Build(place.out), tmp_path / "a", 1, 0)) as url:
        tab = Victim(browser, url)
        for _ in range(4):
            tab.sees("/")
            with tab.page.expect_response("**/api/answer"):
                tab.press("n")
    samples = Samples(Build(place.out).dataset)
    with served(explore.create_app([samples, samples])) as url:
        tab = Victim(browser, url)
        tab.sees("/", f"/a/sample/{place.keys[0]}", times=4)
        tab.page.goto("/")
        tab.page.locator(".facet a", has_text="<img data-hurt").first.click()
        tab.unharmed(2)


def test_report_and_comparison_show_markup_as_text(place, browser, tmp_path):

    def of_one_act(number: int, case: Case) -> Case:
        made = hostile(number, case)
        curated = made.of(Curated)
        return made.plus(
            curated.model_copy(
                update={
                    "ids": curated.ids[:2], "interactions": curated.interactions[:1], "numbers": curated.numbers[:2],
                }
            )
        )  # fmt: skip

    other = Place(tmp_path / "other", clips=1, frames=5, plant=of_one_act, note=BAD)
    other.journal.close()
    compare(place.out, other.out, str(tmp_path / "c"), show=2)
    SPECS["report"].whole(place.context.at_work("report"))
    tab = Victim(browser, "http://127.0.0.1")
    for path in (tmp_path / "c" / "compare.html", Path(place.out) / "report.html"):
        tab.sees(path.as_uri())
