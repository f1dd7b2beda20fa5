"""HEAD is answered wherever GET is, with GET's own head and without its body."""

import io
import time
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.app.batches.test_zip_reader import packed
from tests.app.explanations.test_events import endless
from tests.conftest import SAMPLES, Service
from tests.support.api_requests import explain

CHANGING = {"date", "x-request-id", "cache-control"}  # seconds go by
ALONE = ["/livez", "/readyz", "/docs", "/openapi.json", "/v1/models", "/v1/methods", "/v1/explanations"]


@pytest.fixture(scope="module")
def finished(http: httpx2.Client) -> dict[str, Any]:
    body: dict[str, Any] = explain(http, (SAMPLES / "star.jpg").read_bytes(), seed=821, masks=128, until=1).json()
    return body


def heads(answer: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in CHANGING}


def check_head(http: httpx2.Client, address: str, **options: Any) -> httpx2.Response:
    """Check that HEAD says what GET says, and return it."""
    whole, head = http.get(address, **options), http.head(address, **options)
    assert (head.status_code, head.content) == (whole.status_code, b""), address
    assert heads(head) == heads(whole), address
    assert set(head.headers) == set(whole.headers), address
    return head


@pytest.mark.parametrize("address", ALONE)
def test_the_head_of_an_address_is_that_of_its_whole(http: httpx2.Client, address: str) -> None:
    head = check_head(http, address)
    assert head.status_code == 200
    assert int(head.headers["content-length"]) > 0


def test_explanations_images_and_maps_have_heads(http: httpx2.Client, finished: dict[str, Any]) -> None:
    here = finished["links"]["self"]
    for address in (here, f"{here}?wait=1", finished["links"]["image"], *finished["targets"][0]["links"].values()):
        head = check_head(http, address)
        assert head.status_code == 200
        assert int(head.headers["content-length"]) > 0
        assert check_head(http, address, headers={"If-None-Match": head.headers["etag"]}).status_code == 304


def test_what_get_refuses_head_refuses(http: httpx2.Client, finished: dict[str, Any]) -> None:
    for address, status in (("/nowhere", 404), ("/v1/explanations/none", 404), ("/v1/explanations?limit=-1", 422)):
        assert check_head(http, address).status_code == status
    refused = http.head(f"{finished['links']['self']}/cancel")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_a_connection_is_as_good_after_a_head_as_before(service: Service, finished: dict[str, Any]) -> None:
    limits = httpx2.Limits(max_connections=1)
    with httpx2.Client(base_url=service.url, limits=limits, timeout=20) as one:
        for _ in range(3):
            assert one.head(finished["targets"][0]["links"]["png"]).status_code == 200
            assert one.get("/livez").json() == {"status": "alive"}


def test_what_is_made_while_it_is_sent_is_not_made_for_a_head(http: httpx2.Client, star: bytes) -> None:
    archive = packed(("star.jpg", star)).getvalue()
    fields = {"model": "shapes", "masks": "128", "until": "1"}
    batch = http.post("/v1/batches", files={"archive": ("a.zip", io.BytesIO(archive))}, data=fields).json()
    deadline = time.monotonic() + 60
    while http.get(batch["links"]["self"]).json()["status"] != "finished" and time.monotonic() < deadline:
        time.sleep(0.1)
    head = http.head(batch["links"]["archive"])
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == "application/zip"
    assert "content-length" not in head.headers
    assert http.get(batch["links"]["archive"]).content.startswith(b"PK")


def test_a_stream_without_end_has_no_head_and_holds_nobody(http: httpx2.Client, star: bytes) -> None:
    running = endless(http, star, 822)
    refused = http.head(f"{running}/events", timeout=10)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET")
    http.delete(running)


def test_a_head_is_counted_as_what_it_is_at_its_route(http: httpx2.Client, finished: dict[str, Any]) -> None:
    route = {"method": "HEAD", "route": "/v1/explanations/{explanation_id}/maps/{name}", "status": "200"}

    def counted() -> float:
        families = text_string_to_metric_families(http.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples if sample.name == "rise_requests_total"]
        return sum(sample.value for sample in samples if sample.labels == route)

    before = counted()
    http.head(finished["targets"][0]["links"]["npy"])
    assert counted() == before + 1
