"""A page of a wide screen, in a headless browser where one is installed."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import browser, other_origin

__all__ = ["browser", "other_origin", "page"]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page; an error of its scripts fails the test."""
    errors: list[str] = []
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        opened = context.new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
    assert errors == []
