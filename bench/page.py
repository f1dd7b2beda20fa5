"""The page in a browser without a window: first load, frames over a large photograph, memory.

Frames are those of the browser while each one finds something changed: the opacity, or the place under the pointer.
"""

import io
import re
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, CDPSession, FilePayload, Page, expect

from bench.attributions.photographs import photographs
from bench.rows import Row
from tests.support.browser import executable, running_browser

_FIRST_LOAD, _INTERACTIVE, _FRAME, _GROWTH = 150_000, 1.0, 50, 0.1  # bytes, seconds, milliseconds, a share
_LARGE = (4000, 3000)
_FRAMES = 240
_WARM, _EXPLANATIONS = 10, 50
_PATIENCE = 120_000  # milliseconds
_STATIC = ("Document", "Stylesheet", "Script")

_RECORD = """async ([frames, selector, kind]) => {
  const element = document.querySelector(selector);
  const bounds = element.getBoundingClientRect();
  const change = {
    opacity: (share) => {
      element.value = String(0.02 + 0.98 * share);
      element.dispatchEvent(new Event("input"));
    },
    pointer: (share) => {
      const [clientX, clientY] = [bounds.x + bounds.width * share, bounds.y + bounds.height * (1 - share)];
      element.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY, pointerId: 1, bubbles: true }));
    },
  }[kind];
  const times = [];
  for (let frame = 0; frame <= frames; frame += 1) {
    times.push(await new Promise(requestAnimationFrame));
    change(Math.abs(((frame / 60) % 2) - 1));
  }
  return times.slice(1).map((time, place) => time - times[place]);
}"""


def rows(rounds: int) -> Iterator[Row]:
    """Yield what a person notices: bytes, seconds, frames, and what fifty explanations leave behind."""
    from tests.conftest import start_service, stop_service, wait_for_models  # noqa: PLC0415 - it sets threads to one

    path = executable()
    if path is None:
        raise SystemExit("there is no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, running_browser(path) as browser:
        running = start_service(Path(folder) / "data")
        try:
            wait_for_models(running)
            yield from load_rows(browser, running.url, rounds)
            yield from frame_rows(browser, running.url)
            yield from memory_rows(browser, running.url)
        finally:
            stop_service(running)


def load_rows(browser: Browser, url: str, rounds: int) -> Iterator[Row]:
    """Yield bytes and seconds of a first visit."""
    visits = [first_visit(browser, url) for _ in range(rounds)]
    size, count, seconds = (statistics.median(values) for values in zip(*visits, strict=True))
    yield Row(
        "page: first load (HTML, style sheet, scripts), compressed, with headers",
        f"{size / 1000:.0f} KB in {count:.0f} files",
        f"<= {_FIRST_LOAD // 1000} KB",
        size <= _FIRST_LOAD,
    )
    yield Row(
        "page: from address to models and picture that can be chosen",
        f"{seconds * 1000:.0f} ms ({rounds} rounds)",
        f"<= {_INTERACTIVE:.0f} s",
        seconds <= _INTERACTIVE,
    )


def first_visit(browser: Browser, url: str) -> tuple[float, float, float]:
    """Return bytes and number of the page's files, and seconds until it can be used, with an empty cache."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        kinds: dict[str, str] = {}
        sizes: dict[str, float] = {}
        session.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
        session.on(
            "Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]})
        )
        page.goto(url, wait_until="commit")
        seconds = page.evaluate(
            """async () => {
              while (!document.querySelector("picture-input input") || !document.querySelector("model-picker option")) {
                await new Promise(requestAnimationFrame);
              }
              return performance.now() / 1000;
            }"""
        )
        expect(page.locator(".headline").first).to_be_visible(timeout=_PATIENCE)
        files = [sizes[request] for request, kind in kinds.items() if kind in _STATIC and request in sizes]
        return sum(files), len(files), seconds


def frame_rows(browser: Browser, url: str) -> Iterator[Row]:
    """Yield frame times over a photograph of 12 megapixels."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(url)
        explain(page, "large.jpg", photograph(*_LARGE))
        page.wait_for_load_state("networkidle")
        opacity = page.get_by_label(re.compile("^Opacity")).get_attribute("id")
        for kind, selector, what in (
            ("opacity", f"#{opacity}", "while its opacity is dragged"),
            ("pointer", ".surface", "while a pointer moves over it"),
        ):
            frames = page.evaluate(_RECORD, [_FRAMES, selector, kind])
            median, high = statistics.median(frames), statistics.quantiles(frames, n=20)[-1]
            yield Row(
                f"page: a frame {what}, a photograph of 12 megapixels",
                f"{median:.1f} ms, 95th percentile {high:.1f} ms, longest {max(frames):.0f} ms ({_FRAMES} frames)",
                f"<= {_FRAME} ms",
                high <= _FRAME,
            )


def memory_rows(browser: Browser, url: str) -> Iterator[Row]:
    """Yield how the page's heap grows over fifty explanations, each of another picture."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        session = context.new_cdp_session(page)
        page.goto(url)
        for number in range(_WARM):
            explain(page, f"{number}.jpg", photograph(200 + number, 150))
        before = heap(page, session)
        for number in range(_WARM, _WARM + _EXPLANATIONS):
            explain(page, f"{number}.jpg", photograph(200 + number, 150))
        after = heap(page, session)
        growth = after / before - 1
        yield Row(
            f"page: growth of its heap over {_EXPLANATIONS} explanations, after {_WARM}",
            f"{growth:+.1%} ({before / 1e6:.2f} to {after / 1e6:.2f} MB)",
            f"<= {_GROWTH:.0%}",
            growth <= _GROWTH,
        )


def heap(page: Page, session: CDPSession) -> float:
    """Return the bytes of the page's heap after a garbage collection, when nothing is under way any more."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2000)
    session.send("HeapProfiler.collectGarbage")
    return float(session.send("Runtime.getHeapUsage")["usedSize"])


def explain(page: Page, name: str, content: bytes) -> None:
    """Give the page a picture and wait for its map."""
    picture: Any = FilePayload(name=name, mimeType="image/jpeg", buffer=content)
    page.get_by_label("Choose a picture").set_input_files(picture)
    expect(page.locator("take-away pre").first).to_contain_text(name, timeout=_PATIENCE)


def photograph(width: int, height: int) -> bytes:
    """Return a photograph as a JPEG of this size."""
    buffer = io.BytesIO()
    photographs(2)["coffee"].resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
