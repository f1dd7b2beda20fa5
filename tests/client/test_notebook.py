"""An explanation in a notebook shows its overlay; where there is none, it says what it is."""

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path

import fastapi
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from rise_client import Client
from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.api_requests import make_key
from tests.support.browser import browser, other_origin, page
from tests.support.environments import ROOT, SECONDS_TO_INSTALL, environment
from tests.support.http_proxy import relay

__all__ = ["browser", "other_origin", "page"]

STAR = SAMPLES / "star.jpg"

KERNEL_AND_CELL = """<!doctype html>
<title>A notebook</title>
<div id="cell"></div>
<script type="module">
  import widget from "./notebook.js";
  let receive;
  const model = {{
    get: (name) => ({state})[name],
    send: async (content) => receive(JSON.parse(await kernel(content))),
    on: (_, handle) => (receive = handle),
    off: () => undefined,
  }};
  widget.render({{ model, el: document.querySelector("#cell") }});
</script>"""


@pytest.mark.slow
def test_the_viewer_of_the_page_is_shown_and_gets_its_key_from_the_kernel(
    page: Page, tmp_path: Path, other_origin: tuple[str, Path]
) -> None:
    origin, folder = other_origin
    guarded = start_service(tmp_path / "data", RISE_KEYS="on", RISE_FRAME_ANCESTORS=origin)
    try:
        with Client(guarded.url, make_key(guarded)) as client:
            viewer = client.explain(STAR, model="shapes", masks=256).wait().viewer(height=500)
        sent: list[str] = []
        viewer.send = lambda content, _=None: sent.append(json.dumps(content))

        def reply(content: str) -> str:
            viewer._answer(viewer, content, [])
            return sent[-1]

        page.expose_function("kernel", reply)
        state = json.dumps({"address": viewer.address, "height": viewer.height})
        shutil.copy(ROOT / "rise_client" / "notebook.js", folder)
        (folder / "notebook.html").write_text(KERNEL_AND_CELL.format(state=state))
        page.goto(f"{origin}/notebook.html")
        expect(page.frame_locator("iframe").locator(".headline")).to_contain_text("star", timeout=30_000)
        assert sent
        assert not any(json.loads(sent[0])["key"] in str(value) for value in viewer.get_state().values())
    finally:
        stop_service(guarded)


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS_TO_INSTALL)
def test_cells_of_a_notebook_show_overlays_and_text(service: Service) -> None:
    python = environment("jupyter") / "bin" / "python"
    packages = [str(ROOT), str(Path(fastapi.__file__).parents[1])]
    asked = {"url": service.url, "picture": str(STAR), "packages": packages}
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name("with_notebook.py"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_INSTALL,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *_, explained, awaited, waiting, cancelled = json.loads(done.stdout)
    for name, (shown,) in {"Explanation": explained, "AsyncExplanation": awaited}.items():
        assert shown["text/plain"].startswith(f"<{name} ")
        assert opened(shown["image/png"]).width == 480
    assert [set(shown) for shown in waiting + cancelled] == [{"text/plain"}] * 2


def opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_what_a_notebook_shows_says_what_was_asked_and_what_came(service: Service) -> None:
    with Client(service.url) as client:
        explanation = client.explain(STAR, model="shapes", masks=256).wait()
        assert repr(explanation) == f"<Explanation {explanation.data.id}: rise of shapes, succeeded: star>"
        assert opened(explanation._repr_mimebundle_()["image/png"]).height == 360


def test_where_the_service_is_away_a_notebook_shows_text(service: Service) -> None:
    with relay(service.url, lambda came, forward: forward(came)) as between, Client(between.url) as client:
        explanation = client.explain(STAR, model="shapes", masks=256).wait()
    assert explanation._repr_mimebundle_() == {"text/plain": repr(explanation)}


def test_a_deleted_explanation_is_shown_as_text(service: Service) -> None:
    with Client(service.url) as client:
        explanation = client.explain(STAR, model="shapes", masks=256, seed=302).wait()
        explanation.delete()
        assert explanation._repr_mimebundle_(include=None, exclude=None) == {"text/plain": repr(explanation)}
