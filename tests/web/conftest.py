"""The browser that the tests of a file share."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.web.browser import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a screen; each test makes windows of its own in it."""
    with chromium() as made:
        yield made
