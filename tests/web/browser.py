"""The system's Chromium without a screen, driven by Playwright; and an app on a port of loopback."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZE = {"width": 1280, "height": 720}

DEADLINE_MS = 90_000
"""For whatever a page is waited for: the machine may be busy with other things."""

expect.set_options(timeout=DEADLINE_MS)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of the app while the block runs."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; each of its contexts is somebody's own, with cookies of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


class Tab:
    """A window of somebody who may be logged in. `problems`: what the page complained of."""

    def __init__(self, browser: Browser, url: str):
        self.page: Page = browser.new_context(base_url=url, viewport=SIZE).new_page()
        self.page.set_default_timeout(DEADLINE_MS)
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.problems.append(said.text)

    def log_in(self, token: str) -> None:
        self.page.goto("/login")
        self.page.locator("[name=token]").fill(token)
        self.page.locator("form button").click()
        self.page.locator("table").wait_for()

    def open(self, path: str) -> None:
        """A page with a clip, once it may be used and its frame is shown."""
        self.page.goto(path)
        self.ready()

    def ready(self) -> str:
        """Wait until the clip is shown, and has been asked for; returns its name where the page is of review."""
        self.page.locator("body[data-ready=yes] #frame", has_text="of").wait_for()
        return self.page.locator("#review").get_attribute("data-clip") or ""

    def drop(self, number: int) -> None:
        """Drop the track with this number, counted from 1, for the first of the reasons."""
        self.press(str(number), "d", "1")
        expect(self.page.locator(".said").nth(number - 1)).to_have_text("drop · drift")

    def decided(self) -> None:
        """Wait until every track of the clip has a decision."""
        expect(self.page.locator(".said:empty")).to_have_count(0)

    def finish(self) -> str:
        """Done with a clip, by the keyboard; returns the one that is shown next, or "" where there is none."""
        here = self.page.url
        self.press("Enter")
        self.page.wait_for_url(lambda there: there != here)
        return self.ready() if self.page.locator("#review").count() else ""

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def drag(self, *points: tuple[float, float]) -> None:
        """The pointer, held down, through these places of the picture: shares of its width and height."""
        place = self.page.locator("#overlay").bounding_box()
        assert place is not None
        for number, (x, y) in enumerate(points):
            self.page.mouse.move(place["x"] + x * place["width"], place["y"] + y * place["height"])
            if not number:
                self.page.mouse.down()
        self.page.mouse.up()
