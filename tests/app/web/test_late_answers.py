"""On the page the last wish counts: what an earlier request answers late is not shown."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
from playwright.sync_api import FilePayload, Page, Request, Route, expect

from tests.app.web.test_page import LONG, expect_map, give
from tests.conftest import SAMPLES, Service

LATE = 800  # milliseconds in which a late answer would have been shown


@contextmanager
def held(page: Page, address: str) -> Iterator[Callable[[], None]]:
    """Hold back the first request to a matching address; the function waits until it has been sent."""
    routes: list[Route] = []

    def hold(route: Route) -> None:
        routes.append(route)

    def wait() -> None:
        for _ in range(LONG // 50):
            if routes:
                return
            page.wait_for_timeout(50)
        message = f"nothing was asked of {address}"
        raise AssertionError(message)

    page.route(re.compile(address), hold, times=1)
    yield wait
    for route in routes:
        route.continue_()
    page.wait_for_timeout(LATE)


def asked(page: Page, method: str, ending: str) -> list[Request]:
    """Return a list that grows with each request to an address with this ending."""
    requests: list[Request] = []

    def note(request: Request) -> None:
        if request.method == method and request.url.endswith(ending):
            requests.append(request)

    page.on("request", note)
    return requests


def test_a_list_that_is_filtered_while_it_loads_shows_only_what_the_filter_lets_through(
    service: Service, page: Page
) -> None:
    page.goto(service.url)
    expect_map(page)
    cards = page.locator("history-list .card")
    with held(page, r"/v1/explanations\?limit=24$") as wait:
        page.get_by_role("button", name="Recent", exact=True).click()
        wait()
        page.get_by_label("Model", exact=True).last.select_option("shapes")
        expect(cards.first).to_be_visible()
        count = cards.count()
    expect(cards).to_have_count(count)


def test_of_two_pictures_with_one_name_the_second_is_explained_also_where_the_first_is_kept_later(
    service: Service, page: Page
) -> None:
    page.goto(service.url)
    expect_map(page)
    made = asked(page, "POST", "/v1/explanations")
    picture = {name: _picture(name) for name in ("several", "ring")}
    with held(page, r"/v1/images$") as wait:
        give(page, picture["several"])  # type: ignore[arg-type]
        wait()
        give(page, picture["ring"])  # type: ignore[arg-type]
        expect(page.locator(".headline").first).to_have_text("Why shapes says \u201cring\u201d", timeout=LONG)
    expect(page.locator(".headline").first).to_have_text("Why shapes says \u201cring\u201d")
    assert len(made) == 1


def test_the_map_of_a_class_is_not_replaced_by_that_of_the_class_chosen_before(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    classes = page.locator(".predictions button")
    with held(page, r"/maps/label/\d+\.npz\?max_side=192$") as wait:
        classes.nth(1).click()
        wait()
        classes.nth(2).click()
        shown = f"Why shapes says \u201c{classes.nth(2).locator('.name').inner_text()}\u201d"
        expect(page.locator(".headline").first).to_have_text(shown, timeout=LONG)
    expect(page.locator(".headline").first).to_have_text(shown)


def test_of_two_models_chosen_one_after_the_other_the_second_is_asked_once(service: Service, page: Page) -> None:
    page.goto(service.url)
    expect_map(page)
    made = asked(page, "POST", "/v1/explanations")
    with held(page, r"/clever-hans/predict$") as wait:
        page.locator("#model").select_option("clever-hans")
        wait()
        page.locator("#model").select_option("shapes-detector")
        expect(page.locator(".headline").first).to_contain_text("Why shapes-detector says", timeout=LONG)
    assert [json.loads(request.post_data or "")["model"] for request in made] == ["shapes-detector"]


def test_a_batch_that_is_not_shown_any_more_is_not_asked_for(service: Service, http: httpx2.Client, page: Page) -> None:
    image = http.post("/v1/images", files={"image": (SAMPLES / "star.jpg").read_bytes()}).json()["images"][0]["id"]
    slow = {"model": "shapes", "until": 1, "masks": 100_000, "seed": 4713, "images": [{"id": image}]}
    batch = http.post("/v1/batches", json=slow).raise_for_status().json()
    polls = asked(page, "GET", f"/v1/batches/{batch['id']}")
    with held(page, rf"/v1/batches/{batch['id']}$") as wait:
        page.goto(f"{service.url}/#view=batch&batch={batch['id']}")
        wait()
        page.get_by_role("button", name="Recent", exact=True).click()
        page.wait_for_timeout(LATE)
    page.wait_for_timeout(2000)
    http.post(f"/v1/batches/{batch['id']}/cancel").raise_for_status()
    assert len(polls) == 1


def test_the_first_sample_does_not_replace_a_view_that_was_chosen_while_its_model_loaded(
    service: Service, page: Page
) -> None:
    def loading(route: Route) -> None:
        models = route.fetch().json()
        route.fulfill(json=[*models, {**models[0], "id": "imagenet", "state": "loading"}])

    page.route("**/v1/models", loading, times=1)
    page.goto(service.url)
    expect(page.locator("notice-bar")).to_contain_text("imagenet is loading")
    page.get_by_role("button", name="Recent", exact=True).click()
    expect(page.locator("notice-bar")).not_to_contain_text("imagenet is loading")
    page.wait_for_timeout(LATE)
    expect(page.locator("history-list")).to_be_visible()


def _picture(name: str) -> FilePayload:
    """Return a sample as a clipboard gives it: under the name that all pictures have there."""
    return FilePayload(name="image.png", mimeType="image/jpeg", buffer=(SAMPLES / f"{name}.jpg").read_bytes())
