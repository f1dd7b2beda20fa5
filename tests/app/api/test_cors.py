"""Browser applications of other origins: what Chromium lets them do, with keys on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page
from pydantic import ValidationError

from app.contract.settings import Settings
from app.main import create_app
from tests.conftest import Service, start_service, stop_service
from tests.support.api_keys import new_key
from tests.support.browser import browser, page
from tests.support.loopback import Loopback, Reply, loopback

__all__ = ["browser", "page"]

PAGE = Reply(b"<!DOCTYPE html><title>labels</title>", headers={"content-type": "text/html"})
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,prefer"}
EXPLAIN = """async ([service, key]) => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 64, height: 64});
  const pen = canvas.getContext("2d");
  pen.fillStyle = "red";
  pen.fillRect(16, 16, 32, 32);
  const answer = await fetch(`${service}/v1/explanations`, {
    method: "POST",
    headers: {"Authorization": `Bearer ${key}`, "Content-Type": "application/json", "Prefer": "wait=60"},
    body: JSON.stringify({image: {base64: canvas.toDataURL()}, model: "shapes", masks: 128}),
  });
  const map = await fetch(service + answer.headers.get("Location") + "/maps/0.json", {
    headers: {"Authorization": `Bearer ${key}`},
  });
  return {
    status: answer.status, explanation: await answer.json(), map: await map.json(),
    seen: ["Location", "Preference-Applied", "X-Request-ID"].filter((name) => answer.headers.get(name)),
    tag: map.headers.get("ETag"),
  };
}"""
REFUSED = """async (service) => {
  const answer = await fetch(`${service}/v1/models`, {headers: {"Authorization": "Bearer wrong"}});
  return [answer.status, (await answer.json()).code];
}"""
DELETED = """async ([service, key]) => {
  const options = {method: "DELETE", headers: {"Authorization": `Bearer ${key}`}};
  return (await fetch(`${service}/v1/explanations/none`, options)).status;
}"""


@pytest.fixture(scope="module")
def labels() -> Iterator[Loopback]:
    """The web server of another application."""
    with loopback(lambda _: PAGE) as running:
        yield running


@pytest.fixture(scope="module")
def called(labels: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with keys, which pages of that application may call."""
    settings = {"RISE_KEYS": "on", "RISE_ALLOWED_ORIGINS": f"https://other.example.com, {labels.url}"}
    running = start_service(tmp_path_factory.mktemp("called") / "data", **settings)
    yield running
    stop_service(running)


def test_a_page_of_an_allowed_origin_explains_what_is_on_its_canvas(
    page: Page, labels: Loopback, called: Service
) -> None:
    key = new_key(called, "labels")
    page.goto(labels.url)
    found: dict[str, Any] = page.evaluate(EXPLAIN, [called.url, key])
    assert (found["status"], found["explanation"]["status"]) == (200, "succeeded"), found
    assert found["explanation"]["image"]["width"] == 64
    assert found["seen"] == ["Location", "Preference-Applied", "X-Request-ID"]
    assert found["tag"]
    assert found["map"]
    assert page.evaluate(DELETED, [called.url, key]) == 404
    assert page.evaluate(REFUSED, called.url) == [401, "unauthorized"]


def test_a_page_of_another_origin_sees_nothing(page: Page, called: Service) -> None:
    with loopback(lambda _: PAGE) as stranger:
        page.goto(stranger.url)
        with pytest.raises(Exception, match="Failed to fetch"):
            page.evaluate(REFUSED, called.url)


def front_end(valkey: str, folder: Path, allowed_origins: str) -> TestClient:
    settings = Settings(data=folder, redis_url=valkey, keys="on", allowed_origins=allowed_origins)
    return TestClient(create_app(settings), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("allowed", "origin", "answered"),
    [
        ("https://a.example", "https://a.example", ("https://a.example", "true")),
        ("https://a.example", "https://b.example", (None, "true")),
        ("*", "https://b.example", ("*", None)),
    ],
)
def test_a_preflight_is_answered_before_keys_are_checked(
    valkey: str, tmp_path: Path, allowed: str, origin: str, answered: tuple[str | None, str | None]
) -> None:
    with front_end(valkey, tmp_path, allowed) as http:
        answer = http.options("/v1/explanations", headers={"Origin": origin, **PREFLIGHT})
    assert answer.status_code == (200 if answered[0] else 400)
    named = ("access-control-allow-origin", "access-control-allow-credentials")
    assert tuple(answer.headers.get(name) for name in named) == answered


def test_a_page_can_read_that_something_went_wrong_here(valkey: str, tmp_path: Path) -> None:
    with front_end(valkey, tmp_path, "https://a.example") as http:
        http.app.state.services.keys.find = None  # type: ignore[attr-defined]  # a fault of ours
        headers = {"Origin": "https://a.example", "Authorization": "Bearer x", "X-Request-ID": "r1"}
        answer = http.get("/v1/models", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["x-request-id"] == "r1"
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert exposed >= {"Location", "Retry-After", "ETag", "Link", "X-Request-ID", "Preference-Applied"}


def test_no_other_origin_is_allowed_by_default(valkey: str, tmp_path: Path) -> None:
    with front_end(valkey, tmp_path, "") as http:
        answer = http.options("/v1/explanations", headers={"Origin": "https://a.example", **PREFLIGHT})
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("wrong", ["a.example", "https://a.example/", "https://a.example https://b", "*, https://a"])
def test_what_is_no_origin_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(ValidationError, match="allowed_origins"):
        Settings(allowed_origins=wrong)
