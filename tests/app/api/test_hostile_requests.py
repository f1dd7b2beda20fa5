"""Hostile requests against the whole service: what they are answered, and what they leave behind."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.conftest import Service, start_service, stop_service
from tests.support.attacker import attack
from tests.support.hostile_requests import hostile_requests

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("RISE_HOSTILE_REQUESTS", "600"))  # ten thousand take minutes
SEED = int(os.environ.get("RISE_HOSTILE_SEED", "0"))
GROWTH_BYTES = 30_000_000  # because a few pictures are being decoded; kept bodies would be more than that
QUICK = {"model": "shapes", "masks": "64", "until": "1"}


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Service]:
    """A service of its own that refuses nothing because its queue is full."""
    running = start_service(tmp_path / "data", RISE_MAX_QUEUED="1000000", RISE_BODY_SECONDS="5")
    yield running
    stop_service(running)


def explain(service: Service, image: bytes) -> httpx2.Response:
    address, headers = f"{service.url}/v1/explanations", {"Prefer": "wait=60"}
    return httpx2.post(address, files={"image": image}, data=QUICK, headers=headers, timeout=100)


def errors_counted(service: Service) -> list[str]:
    lines = httpx2.get(f"{service.url}/metrics", timeout=60).text.splitlines()
    return [line for line in lines if line.startswith("rise_requests_total") and 'status="500"' in line]


def test_hostile_requests_are_refused_or_answered_and_leave_nothing_behind(attacked: Service, star: bytes) -> None:
    explained = explain(attacked, star).json()
    (front_end,) = [pid for pid, command in attacked.children().items() if "uvicorn" in command]
    outcome = attack(attacked.url, front_end, hostile_requests(COUNT, SEED, explained["id"]))
    assert outcome.failures == []
    assert outcome.statuses.total() == COUNT
    assert {202, 400, 404, 405, 413, 415, 422} <= set(outcome.statuses), "some doors were never knocked at"
    early = outcome.resident_bytes[len(outcome.resident_bytes) // 5]
    assert outcome.resident_bytes[-1] - early < GROWTH_BYTES
    assert errors_counted(attacked) == []
    assert " ERROR app." not in (attacked.data.parent / "data.log").read_text(errors="replace")
    assert explain(attacked, star).json()["id"] == explained["id"]


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 50_000], ids=["lists", "objects"])
def test_a_field_that_nests_without_end_is_a_wrong_field(http: httpx2.Client, star: bytes, text: str) -> None:
    answer = http.post("/v1/explanations", files={"image": star}, data={**QUICK, "grid": text})
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("path", ["/v1/explanations", "/v1/images", "/v1/batches", "/v1/explanations/x/metrics"])
@pytest.mark.parametrize(
    "body", ['{"\\ud800": 1}', '{"images": [{"id": "\\ud800"}], "model": "shapes"}'], ids=["name", "id"]
)
def test_half_a_character_is_the_client_s_fault(http: httpx2.Client, path: str, body: str) -> None:
    answer = http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text


def test_invented_methods_are_counted_as_one(http: httpx2.Client) -> None:
    for verb in ("ABRACADABRA", "SIMSALABIM"):
        assert http.request(verb, "/v1/models").status_code == 405
    counted = http.get("/metrics").text
    assert 'method="other"' in counted
    assert "SIMSALABIM" not in counted
