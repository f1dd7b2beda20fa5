"""A shortcut answers a plain request as the route would."""

import io
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from app.api.middleware.fast_path import FastPathRoute
from tests.app.auth.test_api_keys import client
from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.hostile_images import encoded, picture

PAST_THE_SHORTCUT = {"Prefer": "respond-async"}  # an option that asks for nothing
_OF_THE_MOMENT = {"date", "x-request-id", "ratelimit"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with keys."""
    running = start_service(tmp_path_factory.mktemp("guarded") / "data", RISE_KEYS="on")
    yield running
    stop_service(running)


@pytest.fixture(scope="module")
def http(guarded: Service) -> Iterator[httpx2.Client]:
    with client(guarded, "shortcuts", "--requests-per-minute", "1000") as http:
        yield http


def said(answer: httpx2.Response) -> tuple[int, Any, dict[str, str]]:
    headers = {name: value for name, value in answer.headers.items() if name not in _OF_THE_MOMENT}
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    return answer.status_code, answer.json() if answer.content else None, headers


def progressive() -> bytes:
    buffer = io.BytesIO()
    Image.open(SAMPLES / "star.jpg").save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


IMAGES = {
    "jpeg": (SAMPLES / "star.jpg").read_bytes(),
    "progressive": progressive(),
    "png": encoded(picture(), "PNG"),
    "no image": b"no image",
    "half a jpeg": (SAMPLES / "star.jpg").read_bytes()[:3000],
    "nothing": b"",
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_creation_is_answered_alike(http: httpx2.Client, name: str) -> None:
    data = {"model": "shapes", "masks": "64", "until": "1", "seed": str(len(name))}
    first = http.post("/v1/explanations", files={"image": IMAGES[name]}, data=data)
    expected = 202 if name in {"jpeg", "progressive", "png"} else 422
    assert first.status_code == expected, first.text
    if expected == 202:
        http.get(first.headers["location"], params={"wait": 60})
    answers = [
        http.post("/v1/explanations", files={"image": IMAGES[name]}, data=data, headers=headers)
        for headers in ({}, PAST_THE_SHORTCUT)
    ]
    assert said(answers[0]) == said(answers[1])
    assert answers[0].status_code == (200 if expected == 202 else expected)


@pytest.mark.parametrize(
    "request_parts",
    [
        {"files": {"image": IMAGES["jpeg"]}, "data": {"model": "unknown"}},
        {"files": {"image": IMAGES["jpeg"]}, "data": {"model": "shapes", "masks": "-1"}},
        {"files": {"image": IMAGES["jpeg"]}, "data": {"model": "shapes", "masks": "1.5", "seed": "NaN"}},
        {"files": {"image": IMAGES["jpeg"]}, "data": {"model": "shapes", "fill": "lava"}},
        {"data": {"model": "shapes"}},
        {"json": {"model": "shapes"}},
        {"json": ["shapes"]},
        {"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}},
        {"content": b"", "headers": {"Content-Type": "text/plain"}},
        {"headers": {"Authorization": "Bearer nobody"}, "json": {"model": "shapes"}},
    ],
)
def test_a_refusal_is_worded_alike(http: httpx2.Client, request_parts: dict[str, Any]) -> None:
    headers = request_parts.pop("headers", {})
    answers = [
        http.post("/v1/explanations", headers={**headers, **option}, **request_parts)
        for option in ({}, PAST_THE_SHORTCUT)
    ]
    assert said(answers[0]) == said(answers[1])
    assert 400 <= answers[0].status_code < 500


def test_a_read_is_answered_alike(http: httpx2.Client, guarded: Service) -> None:
    data = {"model": "shapes", "masks": "64", "until": "1"}
    created = http.post("/v1/explanations", files={"image": IMAGES["jpeg"]}, data=data)
    here = created.headers["location"]
    tag = http.get(here, params={"wait": 60}).headers["etag"]
    with client(guarded, "thief", "--tenant", "thief") as thief:
        for who, path, headers in (
            (http, here, {}),
            (http, here, {"If-None-Match": tag}),
            (http, here, {"Authorization": "Bearer nobody"}),
            (thief, here, {}),
            (http, "/v1/explanations/nobody", {}),
            (http, "/v1/explanations/%20", {}),
        ):
            plain, asked = (who.get(path, headers=headers, params=params) for params in ({}, {"other": "1"}))
            assert said(plain) == said(asked), path
    assert http.get(here, headers={"If-None-Match": tag}).status_code == 304
    assert "ratelimit" in http.get(here).headers


def test_both_are_counted_under_the_pattern_of_their_route(http: httpx2.Client, guarded: Service) -> None:
    http.get("/v1/explanations/nobody")
    with client(guarded, "operator", "--scope", "admin") as operator:
        counts = operator.get("/metrics").text
    assert 'rise_requests_total{method="GET",route="/v1/explanations/{explanation_id}",status="404"}' in counts
    assert 'rise_requests_total{method="POST",route="/v1/explanations",status="422"}' in counts


@pytest.mark.parametrize(
    ("pattern", "path", "parameter"),
    [
        ("/a", "/a", ""),
        ("/a", "/a/", None),
        ("/a", "/ab", None),
        ("/a/{id}", "/a/b", "b"),
        ("/a/{id}", "/a/", None),
        ("/a/{id}", "/a", None),
        ("/a/{id}", "/a/b/c", None),
        ("/a/{id}", "/x/b", None),
    ],
)
def test_a_shortcut_is_for_paths_of_its_pattern_alone(pattern: str, path: str, parameter: str | None) -> None:
    async def nothing(*_: object) -> Any:
        return None

    assert FastPathRoute("GET", pattern, lambda _: True, nothing).parameter(path) == parameter
