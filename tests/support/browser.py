"""Debian's Chromium without a window, driven by Playwright, for tests of what browsers do.

Take the fixtures by importing them: `from tests.support.browser import browser, page`.
"""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

_PATIENCE = 20_000  # milliseconds for what should be there at once, on a machine that does other things too
_OPTIONS = [
    "--no-sandbox",  # because tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def executable() -> str | None:
    """Return where Chromium is; None where it is not installed."""
    return shutil.which("chromium")


@contextmanager
def running_browser(path: str) -> Iterator[Browser]:
    """Run a browser within the block."""
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=_OPTIONS)
        yield running
        running.close()


@pytest.fixture(scope="module")  # not longer, because Playwright keeps an event loop in this thread: no asyncio.run
def browser() -> Iterator[Browser]:
    """A browser; its pages and contexts are the test's to close."""
    path = executable()
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with running_browser(path) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page with a context of its own."""
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture
def other_origin(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Another origin than the service's: its address, and the folder of its pages."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()
