"""The page in a real browser, against the real service and worker."""

import io
import re
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.conftest import SAMPLES, Service, start_service, stop_service, wait_for_models
from tests.support.annotated_pictures import coco_of, draw_pictures, encoded, files_of
from tests.support.api_requests import explain, make_key

LONG = 60_000  # milliseconds that a map may take on a machine that does other things too


def expect_map(page: Page) -> None:
    expect(page.locator("trust-card .verdict strong").first).to_have_text("The map has settled", timeout=LONG)


def give(page: Page, picture: str | dict[str, object]) -> None:
    page.get_by_label("Choose a picture").set_input_files(picture)  # type: ignore[arg-type]


def photograph(width: int, height: int) -> bytes:
    """Return a JPEG of the sample at another size."""
    buffer = io.BytesIO()
    Image.open(SAMPLES / "ring.jpg").resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


def painted(page: Page) -> float:
    """Return the mean saturation of the viewer's pixels, 0..1: of the colours of a map."""
    pixels = Image.open(io.BytesIO(page.locator(".surface").first.screenshot())).convert("HSV")
    return float(np.asarray(pixels)[..., 1].mean() / 255)


def test_a_newcomer_sees_an_explained_sample_and_then_why_of_a_picture_of_their_own(
    service: Service, page: Page
) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(re.split(r"[/?]", request.url)[2]))
    page.goto(service.url)
    expect(page.locator(".headline").first).to_have_text("Why shapes says \u201cstar\u201d", timeout=LONG)
    expect_map(page)
    expect(page.locator(".reading").first).to_contain_text(
        "At the peak: hiding this place lowers \u201cstar\u201d by 0."
    )
    give(page, str(SAMPLES / "ring.jpg"))
    expect(page.locator(".headline").first).to_have_text("Why shapes says \u201cring\u201d", timeout=LONG)
    expect_map(page)
    page.locator(".surface").hover(position={"x": 20, "y": 20})
    expect(page.locator(".reading").first).to_contain_text("Hiding this place")
    link = page.url
    assert "pane=" in link
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator(".headline").first).to_have_text("Why shapes says \u201cring\u201d", timeout=LONG)
    assert hosts == {service.url.removeprefix("http://")}


def test_an_audit_takes_one_click_and_its_maps_can_be_flipped_through(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    own_picture: dict[str, object] = {"name": "ring.jpg", "mimeType": "image/jpeg", "buffer": photograph(300, 220)}
    give(page, own_picture)  # and not the sample, which other tests see without an audit
    expect(page.locator(".headline").first).to_have_text("Why shapes says \u201cring\u201d", timeout=LONG)
    expect_map(page)
    expect(page.locator("trust-card")).to_contain_text(re.compile(r"At most 1,1\d\d more pictures"))
    page.get_by_role("button", name="Audit this map").click()
    expect(page.locator("trust-card .verdict strong").nth(1)).to_contain_text("The audit", timeout=LONG)
    expect(page.locator("trust-card")).to_contain_text("passes these checks")
    own = painted(page)
    chips = page.get_by_role("group", name="Maps of the audit").get_by_role("button")
    expect(chips).to_have_text(["black", "grey", "blur", "noise", "30 % hidden", "Grad-CAM", "Grad-CAM beside it"])
    for name in ("grey", "30 % hidden"):
        chips.get_by_text(name).click()
        expect(chips.get_by_text(name)).to_have_attribute("aria-pressed", "true")
        expect(page.locator(".reading").first).to_contain_text("At the peak", timeout=LONG)
        assert painted(page) != own
    expect(page.locator(".unit")).to_contain_text("change of the log-odds")
    expect(page.locator("trust-card")).to_contain_text("This is a map of the audit")
    assert page.url.endswith(".opacity")
    serious = [found for found in Axe().run(page).response["violations"] if found["impact"] in {"serious", "critical"}]
    assert serious == []


@pytest.mark.slow
def test_grad_cam_stands_beside_the_map_where_the_audit_has_it(service: Service, page: Page) -> None:
    with httpx2.Client(base_url=service.url, timeout=90) as http:
        made = explain(http, (SAMPLES / "clever-hans.jpg").read_bytes(), model="clever-hans", seed=4712).json()
        http.post(f"/v1/explanations/{made['id']}/audit", headers={"Prefer": "wait=60"}).raise_for_status()
    page.goto(f"{service.url}/#pane={made['id']}.0")
    expect_map(page)
    expect(page.locator("trust-card")).to_contain_text("of \u201cstar\u201d")
    with page.expect_response(re.compile(r"/maps/0\.npz\?.*method=grad-cam")) as response:
        page.get_by_role("button", name="Grad-CAM beside it").click()
    assert response.value.ok
    expect(page.locator("map-viewer")).to_have_count(2)
    other = page.locator(".pane").nth(1)
    expect(other.locator(".pane-title")).to_contain_text("Grad-CAM")
    expect(other.locator(".reading")).to_contain_text("hides nothing", timeout=LONG)
    other.locator(".surface").focus()
    expect(page.locator(".unit")).to_have_text("activations, weighted by gradients")
    expect(page.locator("trust-card")).to_contain_text("of the network\u2019s gradients")
    other.locator(".surface").hover(position={"x": 60, "y": 60})
    expect(other.locator(".reading")).to_contain_text("Grad-CAM gives this place")
    expect(page.locator(".pane").nth(0).locator(".reading")).to_contain_text("Hiding this place")
    assert page.url.endswith(f"pane={made['id']}.0.grad-cam")
    assert serious_findings(page) == []
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("map-viewer")).to_have_count(2)
    expect(page.locator(".pane").nth(1).locator(".reading")).to_contain_text("hides nothing", timeout=LONG)
    page.get_by_role("button", name="Close this map").first.click()
    expect(page.get_by_role("button", name="Grad-CAM", exact=True)).to_have_attribute("aria-pressed", "true")


@pytest.mark.slow
def test_another_class_is_drawn_at_once_from_what_was_kept(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    before = len(httpx2.get(f"{service.url}/v1/explanations").json())
    page.locator(".predictions button").nth(1).click()
    expect(page.locator(".headline").first).not_to_contain_text("star", timeout=LONG)
    assert ".label-" in page.url
    assert len(httpx2.get(f"{service.url}/v1/explanations").json()) == before


@pytest.mark.slow
def test_a_map_comes_block_by_block_and_can_be_stopped(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    page.locator("summary", has_text="Method and options").click()
    page.get_by_label("Masks at most").fill("500000")
    page.get_by_label("Masks at most").blur()
    page.get_by_label("Stop at reliability").fill("1")
    page.get_by_label("Stop at reliability").blur()
    page.get_by_role("button", name="Explain again").click()
    expect(page.locator(".detail")).to_contain_text("of at most", timeout=LONG)
    first = page.locator(".detail").inner_text()
    expect(page.locator(".detail")).not_to_have_text(first, timeout=LONG)
    expect(page.locator(".reading").first).to_contain_text("At the peak", timeout=LONG)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator(".detail")).to_contain_text("Stopped before its end", timeout=LONG)


@pytest.mark.slow
def test_opacity_style_and_zoom_change_what_is_drawn_without_a_request(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    page.wait_for_load_state("networkidle")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    shown = painted(page)
    page.get_by_label(re.compile("^Opacity")).fill("0.02")
    faint = painted(page)
    page.get_by_role("button", name="Map", exact=True).click()
    alone = painted(page)
    assert len({round(value, 3) for value in (shown, faint, alone)}) == 3
    page.get_by_role("button", name="Zoom in").click()
    assert painted(page) != alone
    for style in ("Region", "Outline", "Original"):
        page.get_by_role("button", name=style).click()
    assert [url for url in requests if not url.endswith("icon.svg")] == []  # which Chromium takes from its cache
    assert "style=original" in page.url


@pytest.mark.slow
def test_a_detector_shows_its_boxes_and_answers_about_a_rectangle(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    page.get_by_role("button", name="Sample: Several shapes").click()
    expect(page.locator(".chips button")).to_have_count(4, timeout=LONG)
    twice = page.locator(".chips button", has_text=re.compile(r"^star \d+ %$"))
    expect(twice).to_have_count(2)  # told apart by their scores
    page.locator(".chips button", has_text="triangle").click()
    expect(page.locator(".headline").first).to_contain_text("triangle", timeout=LONG)
    page.get_by_role("button", name="Ask about a missed object").click()
    surface = page.locator(".surface").first.bounding_box()
    assert surface
    page.mouse.move(surface["x"] + surface["width"] * 0.1, surface["y"] + surface["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(surface["x"] + surface["width"] * 0.33, surface["y"] + surface["height"] * 0.4, steps=5)
    page.mouse.up()
    assert 40 <= int(page.get_by_label("left").input_value()) <= 56
    page.get_by_label("Class of the object").select_option(label="star")
    page.get_by_role("button", name="Explain it").click()
    expect(page.locator(".headline").first).to_contain_text("star", timeout=LONG)


@pytest.mark.slow
def test_two_fills_stand_side_by_side_and_zoom_together(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    page.get_by_role("button", name="Compare with blur").click()
    expect(page.locator("map-viewer")).to_have_count(2)
    expect(page.locator(".pane-title", has_text="blur")).to_be_visible(timeout=LONG)
    expect(page.locator(".pane").nth(1).locator(".reading")).to_contain_text("At the peak", timeout=LONG)
    before = page.locator(".pane").nth(0).locator(".surface").screenshot()
    page.locator(".pane").nth(1).locator(".surface").focus()
    page.keyboard.press("+")
    page.wait_for_timeout(100)
    assert page.locator(".pane").nth(0).locator(".surface").screenshot() != before
    assert page.url.count("pane=") == 2


@pytest.mark.slow
def test_a_refused_picture_says_why_and_the_next_one_is_explained(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    give(page, {"name": "notes.png", "mimeType": "image/png", "buffer": b"this is no picture"})
    expect(page.locator(".notice.is-error")).to_contain_text("image", timeout=LONG)
    give(page, str(SAMPLES / "ring.jpg"))
    expect(page.locator(".notice.is-error")).to_have_count(0)
    expect(page.locator(".headline").first).to_contain_text("ring", timeout=LONG)
    expect_map(page)


@pytest.mark.slow
def test_with_the_keyboard_alone_a_sample_is_explained_and_its_map_read(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
            )
            if name in focused:
                return
        raise AssertionError(f"no {name!r} with the keyboard")

    tab_to("Sample: Several shapes")
    page.keyboard.press("Enter")
    expect(page.locator(".chips button").first).to_be_visible(timeout=LONG)
    tab_to("triangle")
    page.keyboard.press("Space")
    expect(page.locator(".headline").first).to_contain_text("triangle", timeout=LONG)
    expect(page.locator(".reading").first).to_contain_text("lowers \u201ctriangle\u201d", timeout=LONG)
    page.locator("body").focus()
    tab_to("Picture and map")
    page.keyboard.press("p")
    expect(page.locator(".reading").first).to_contain_text("Hiding this place lowers", timeout=LONG)
    at_the_peak = page.locator(".reading").first.inner_text()
    for _ in range(6):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".reading").first).not_to_have_text(at_the_peak)


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 768, 1920])
def test_nothing_is_wider_than_the_screen(service: Service, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    page.goto(service.url)
    expect_map(page)
    for view in ("Recent", "Many pictures", "Explain"):
        page.get_by_role("button", name=view, exact=True).click()
        page.wait_for_timeout(300)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, view


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_view(service: Service, browser: Browser, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(service.url)
    expect_map(page)
    for details in page.locator("details").all():
        details.evaluate("(element) => element.open = true")
    for view in ("Explain", "Many pictures", "Recent"):
        page.get_by_role("button", name=view, exact=True).click()
        page.wait_for_timeout(300)
        assert serious_findings(page) == [], view
    made = explain(httpx2.Client(base_url=service.url, timeout=90), (SAMPLES / "star.jpg").read_bytes()).json()
    for address in (f"/ui/embed/{made['id']}", f"/v1/explanations/{made['id']}/report.html"):
        page.goto(f"{service.url}{address}")
        expect(page.locator("main, body").first).to_contain_text("star", timeout=LONG)
        assert serious_findings(page) == [], address
    context.close()


def serious_findings(page: Page) -> list[tuple[str, list[str]]]:
    """Return what axe finds serious or critical: rules, and the elements that break them."""
    found = Axe().run(page).response["violations"]
    bad = [rule for rule in found if rule["impact"] in {"serious", "critical"}]
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in bad]


@pytest.mark.slow
def test_recent_explanations_are_filtered_opened_and_deleted(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    page.get_by_role("button", name="Recent", exact=True).click()
    page.get_by_label("Model", exact=True).last.select_option("shapes")
    cards = page.locator("history-list .card")
    expect(cards.first).to_be_visible()
    count = cards.count()
    cards.last.get_by_role("button", name=re.compile("^Delete")).click()
    expect(cards).to_have_count(count - 1)
    if count > 1:
        cards.first.get_by_role("button", name=re.compile("^Open")).click()
        expect(page.locator(".headline").first).to_contain_text("Why shapes says", timeout=LONG)


@pytest.mark.slow
def test_many_pictures_become_a_gallery_that_opens_each(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    page.get_by_role("button", name="Many pictures", exact=True).click()
    files = [str(SAMPLES / name) for name in ("star.jpg", "ring.jpg", "several.jpg")]
    page.get_by_label("Choose files or a zip archive").set_input_files(files)
    expect(page.locator("batch-gallery .card")).to_have_count(3, timeout=LONG)
    expect(page.locator("batch-gallery [role=status]")).to_contain_text("3 succeeded", timeout=LONG)
    page.get_by_label("Sort by").select_option("class")
    expect(page.locator("batch-gallery .card").first).to_contain_text("ring")
    page.get_by_role("button", name="Open ring.jpg").click()
    expect(page.locator(".headline").first).to_contain_text("ring", timeout=LONG)


@pytest.mark.slow
def test_annotations_beside_the_pictures_make_a_report_that_leads_to_those_that_are_suspicious(
    service: Service, page: Page
) -> None:
    pictures = draw_pictures(marked=12, unmarked=4, others=10, seed=3)
    files = [FilePayload(name=name, mimeType="image/png", buffer=content) for name, content in files_of(pictures)]
    coco = FilePayload(name="objects.json", mimeType="application/json", buffer=encoded(coco_of(pictures)))
    page.goto(service.url)
    page.get_by_role("button", name="Many pictures", exact=True).click()
    page.locator("batch-gallery select").first.select_option("clever-hans", timeout=LONG)
    page.get_by_label("Choose files or a zip archive").set_input_files([coco])
    expect(page.locator("batch-gallery [role=status]").first).to_contain_text("drop them together")
    page.get_by_label("Choose files or a zip archive").set_input_files([*files, coco])
    first = page.locator("survey-report .clusters li").first
    expect(first).to_contain_text("star", timeout=2 * LONG)
    expect(first).to_contain_text("suspicious")
    expect(first.locator("img")).to_be_visible()
    expect(page.locator("survey-report .verdict")).to_contain_text("outside of the objects")
    first.get_by_role("button").click()
    shown = int(first.get_by_role("button").inner_text().removeprefix("Show these "))
    expect(page.locator("batch-gallery .card")).to_have_count(shown)
    first.get_by_role("button").click()
    expect(page.locator("batch-gallery .card")).to_have_count(26)
    page.get_by_label("Sort by").select_option("inside")
    shares = [int(text.split(", ")[1].split(" %")[0]) for text in page.locator(".card .hint").all_inner_texts()]
    assert len(shares) == 26
    assert shares == sorted(shares)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the report").click()
    assert b"outside of the objects" in Path(download.value.path()).read_bytes()
    assert serious_findings(page) == []


@pytest.mark.slow
def test_the_report_on_the_page_says_how_many_objects_are_not_explained(service: Service, page: Page) -> None:
    pictures = draw_pictures(marked=0, unmarked=2, others=0, seed=3)
    crowd = [{"id": number, "image_id": 0, "category_id": 1, "bbox": [0, 0, 9, 9]} for number in range(22)]
    files = [FilePayload(name=name, mimeType="image/png", buffer=content) for name, content in files_of(pictures)]
    content = encoded(coco_of(pictures, annotations=crowd))
    coco = FilePayload(name="objects.json", mimeType="application/json", buffer=content)
    page.goto(service.url)
    page.get_by_role("button", name="Many pictures", exact=True).click()
    page.locator("batch-gallery select").first.select_option("shapes-detector", timeout=LONG)
    page.get_by_label("Choose files or a zip archive").set_input_files([*files, coco])
    expect(page.locator("survey-report")).to_contain_text("beyond the 20 targets of an image", timeout=2 * LONG)
    expect(page.locator("survey-report")).to_contain_text("not explained: 2.")


@pytest.mark.slow
def test_five_colours_stand_side_by_side(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    page.locator("summary", has_text="Method and options").click()
    page.get_by_label("Method", exact=True).select_option("mc-rise")
    page.get_by_role("button", name="Explain again").click()
    page.get_by_role("button", name="All colours side by side").click(timeout=LONG)
    expect(page.locator("map-viewer")).to_have_count(5)
    expect(page.locator(".pane").nth(4).locator(".reading")).to_contain_text(
        "painting this place #000000", timeout=LONG
    )


@pytest.mark.slow
def test_the_viewer_alone_shows_every_target(service: Service, page: Page) -> None:
    image = (SAMPLES / "several.jpg").read_bytes()
    made = httpx2.post(
        f"{service.url}/v1/explanations",
        data={"model": "shapes-detector"},
        files={"image": image},
        headers={"Prefer": "wait=60"},
        timeout=90,
    ).json()
    page.goto(f"{service.url}/ui/embed/{made['id']}#target=2&style=outline")
    expect(page.locator(".chips button")).to_have_count(4, timeout=LONG)
    expect(page.locator(".headline").first).to_contain_text("triangle", timeout=LONG)
    expect(page.locator("app-header")).to_have_count(0)


@pytest.mark.slow
def test_the_viewer_alone_audits_a_map_and_shows_what_was_found(service: Service, page: Page) -> None:
    with httpx2.Client(base_url=service.url, timeout=90) as http:
        made = explain(http, (SAMPLES / "star.jpg").read_bytes(), model="clever-hans", seed=4711).json()
    page.set_viewport_size({"width": 480, "height": 700})
    page.goto(f"{service.url}/ui/embed/{made['id']}")
    expect_map(page)
    page.get_by_role("button", name="Audit this map").click()
    expect(page.locator("trust-card .verdict strong", has_text="The audit")).to_be_visible(timeout=LONG)
    expect(page.locator("trust-card")).to_contain_text("passes these checks")
    page.get_by_role("group", name="Maps of the audit").get_by_role("button", name="grey").click()
    expect(page.locator("trust-card")).to_contain_text("This is a map of the audit", timeout=LONG)
    assert serious_findings(page) == []


@pytest.mark.slow
def test_fifty_explanations_in_a_row_do_not_fill_the_memory(service: Service, page: Page) -> None:
    session = page.context.new_cdp_session(page)
    page.goto(service.url)
    expect_map(page)

    def heap() -> float:
        session.send("HeapProfiler.collectGarbage")
        return float(session.send("Runtime.getHeapUsage")["usedSize"])

    def explain(first: int, last: int) -> None:
        for number in range(first, last):
            picture = photograph(200 + number, 150)
            give(page, {"name": f"{number}.jpg", "mimeType": "image/jpeg", "buffer": picture})
            expect(page.locator("take-away pre").first).to_contain_text(f"{number}.jpg", timeout=LONG)

    explain(0, 10)
    before = heap()
    explain(10, 50)
    patience = time.monotonic() + 30  # because what still runs holds memory until it has ended; a leak stays
    while (after := heap()) > 1.1 * before + 300_000 and time.monotonic() < patience:
        page.wait_for_timeout(500)
    assert after <= 1.1 * before + 300_000


@pytest.mark.slow
def test_a_service_that_goes_away_is_told_and_the_page_goes_on_when_it_is_back(page: Page, tmp_path: Path) -> None:
    data = tmp_path / "data"
    service = start_service(data)
    port = service.url.rsplit(":", 1)[1]
    try:
        wait_for_models(service)
        page.goto(service.url)
        expect_map(page)
        page.locator("summary", has_text="Method and options").click()
        page.get_by_label("Masks at most").fill("60000")
        page.get_by_label("Masks at most").blur()
        page.get_by_label("Stop at reliability").fill("1")
        page.get_by_label("Stop at reliability").blur()
        page.get_by_role("button", name="Explain again").click()
        expect(page.locator(".detail")).to_contain_text("of at most", timeout=LONG)
        stop_service(service)
        expect(page.locator(".notice.is-error")).to_contain_text("does not answer", timeout=LONG)
        service = start_service(data, RISE_PORT=port)
        expect(page.locator(".notice.is-error")).to_have_count(0, timeout=LONG)
        expect(page.locator(".detail")).to_contain_text("of at most", timeout=LONG)
    finally:
        stop_service(service)


@pytest.mark.slow
def test_below_a_path_of_a_proxy_nothing_is_asked_for_outside_of_it(page: Page, tmp_path: Path) -> None:
    service = start_service(tmp_path / "data", RISE_PUBLIC_URL="http://127.0.0.1/rise")
    try:
        paths: list[str] = []
        page.on("request", lambda request: paths.append(request.url.removeprefix(service.url)))
        page.goto(f"{service.url}/rise/")
        expect_map(page)
        page.get_by_role("button", name="Recent", exact=True).click()
        expect(page.locator("history-list img").first).to_be_visible(timeout=LONG)
        assert [path for path in paths if not path.startswith(("/rise/", "blob:"))] == []
    finally:
        stop_service(service)


@pytest.mark.slow
def test_a_key_opens_the_page_and_stays_in_the_tab(page: Page, tmp_path: Path) -> None:
    guarded = start_service(tmp_path / "data", RISE_KEYS="on")
    try:
        key = make_key(guarded)
        page.goto(guarded.url)
        page.get_by_label("This service asks for an API key").fill(key)
        page.get_by_role("button", name="Use it").click()
        expect_map(page)
        assert key not in page.url
        assert page.evaluate("() => JSON.stringify(localStorage) + document.cookie") == "{}"
        other = page.context.new_page()
        other.goto(guarded.url)
        expect(other.get_by_label("This service asks for an API key")).to_be_visible()
    finally:
        stop_service(guarded)


AROUND = """<!doctype html><title>A labelling tool</title><iframe width="700" height="600" src="{frame}"></iframe>
<script>
addEventListener("message", ({{ data, source }}) => {{
  if (data.type === "rise-serve:ready") source.postMessage({{ type: "rise-serve:key", key: "{key}" }}, "*");
}});
</script>"""


@pytest.mark.slow
def test_a_page_that_the_operator_allows_shows_the_viewer_in_a_frame_and_gives_it_a_key(
    page: Page, tmp_path: Path, other_origin: tuple[str, Path]
) -> None:
    origin, folder = other_origin
    guarded = start_service(tmp_path / "data", RISE_KEYS="on", RISE_FRAME_ANCESTORS=origin)
    try:
        key = make_key(guarded)
        made = httpx2.post(
            f"{guarded.url}/v1/explanations",
            data={"model": "shapes"},
            files={"image": (SAMPLES / "star.jpg").read_bytes()},
            headers={"Prefer": "wait=60", "Authorization": f"Bearer {key}"},
            timeout=90,
        ).json()
        frame = f"{guarded.url}/ui/embed/{made['id']}"
        (folder / "tool.html").write_text(AROUND.format(frame=frame, key=key))
        page.goto(f"{origin}/tool.html")
        inside = page.frame_locator("iframe")
        expect(inside.locator(".headline")).to_contain_text("star", timeout=LONG)
        expect(inside.locator(".notice")).to_have_count(0)
        page.goto(f"{origin.replace('127.0.0.1', 'localhost')}/tool.html")  # an origin that is not allowed
        page.wait_for_timeout(1000)
        expect(page.frame_locator("iframe").locator(".headline")).to_have_count(0)
    finally:
        stop_service(guarded)
