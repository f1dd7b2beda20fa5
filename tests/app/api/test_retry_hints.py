"""Whoever is refused for now is told when to come back: every 429 and every 503, whoever asks and whoever refuses."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app.auth.principal import ANONYMOUS
from app.contract.errors import CODES, RiseError, reported_error
from app.contract.queue.jobs import PREDICT, JobQueue
from app.contract.settings import Settings
from app.explanations.worker_calls import WorkerCalls
from app.main import create_app
from app.services import Services
from tests.conftest import SAMPLES
from tests.contract.test_jobs import run_worker

PASSING = sorted(code for code, kind in CODES.items() if kind.status in {429, 503})
ROUTES = [
    "/v1/models",
    "/integrations/kserve/v1/models",
    "/api/functions",
    "/integrations/label-studio/shapes/versions",
]
STAR = {"image": (SAMPLES / "star.jpg").read_bytes()}


@pytest.fixture
def http(tmp_path: Path, valkey: str, redis: Redis) -> Iterator[TestClient]:
    """A front end with all integrations."""
    redis.ping()
    told: dict[str, Any] = {"kserve": True, "cvat": True, "label_studio_url": "http://127.0.0.1:1"}
    settings = Settings(data=tmp_path, redis_url=valkey, **told)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def services_of(http: TestClient) -> Services:
    found: Services = http.app.state.services  # type: ignore[attr-defined]
    return found


def refuse(http: TestClient, error: Exception) -> None:
    """Make it impossible to read the catalogue, which every route here needs."""

    def now() -> Any:
        raise error

    services_of(http).catalogue.now = now  # type: ignore[method-assign]


def break_storage(folder: Path) -> None:
    """Put a file in the place of the folder of all objects."""
    shutil.rmtree(folder / "blobs")
    (folder / "blobs").write_text("no folder")


def test_the_table_has_a_hint_for_every_code_that_passes_and_for_no_other() -> None:
    assert "storage-unavailable" in PASSING
    assert [code for code, kind in CODES.items() if kind.retry_after_seconds is not None] == [
        code for code in CODES if code in PASSING
    ]


@pytest.mark.parametrize("route", ROUTES)
def test_every_refusal_that_passes_says_when_to_come_back(http: TestClient, route: str) -> None:
    for code in PASSING:
        refuse(http, RiseError(code, "not now"))
        answer = http.get(route)
        assert answer.status_code == CODES[code].status, answer.text
        assert int(answer.headers["retry-after"]) == CODES[code].retry_after_seconds
    refuse(http, RiseError("busy", "not now", retry_after_seconds=7.5))
    assert http.get(route).headers["retry-after"] == "8"
    refuse(http, RiseError("busy", "not now", retry_after_seconds=7.5).reworded("not this one now"))
    assert http.get(route).headers["retry-after"] == "8"


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_final_names_no_time_to_come_back(http: TestClient, route: str) -> None:
    for code in sorted(set(CODES) - set(PASSING)):
        refuse(http, RiseError(code, "never"))
        assert "retry-after" not in http.get(route).headers


@pytest.mark.parametrize("route", ROUTES)
def test_a_file_that_our_own_code_misses_is_an_error_of_ours(http: TestClient, route: str) -> None:
    refuse(http, FileNotFoundError("/etc/rise/labels.txt"))
    answer = http.get(route)
    assert answer.status_code == 500
    assert "labels.txt" not in answer.text


def test_a_service_that_is_not_ready_says_when_to_look_again(http: TestClient) -> None:
    answer = http.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("code", PASSING)
def test_what_a_worker_sends_back_through_the_queue_says_it_too(code: str, redis: Redis) -> None:
    calls = WorkerCalls(JobQueue(redis, timeout_seconds=60))

    async def refused() -> RiseError:
        asking = asyncio.create_task(calls.call(ANONYMOUS, "q", PREDICT, "code", code, "detail", "not now"))
        while not redis.llen("rq:queue:q"):
            await asyncio.sleep(0.01)
        run_worker(redis, [])
        with pytest.raises(RiseError, match="not now") as caught:
            await asking
        return caught.value

    assert asyncio.run(refused()).retry_after_seconds == CODES[code].retry_after_seconds


def test_a_code_that_only_another_version_of_a_worker_knows_is_an_error_all_the_same() -> None:
    error = reported_error("melted", "the device has melted")
    assert (error.code, error.detail) == ("internal", "the device has melted")


def test_a_storage_that_is_away_is_not_the_fault_of_the_image_that_was_to_be_kept(
    http: TestClient, tmp_path: Path
) -> None:
    break_storage(tmp_path)
    answer = http.post("/v1/images", files=STAR)
    assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable")
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["errors"] == []


def test_a_storage_that_is_away_is_not_the_fault_of_the_id_that_names_an_image(
    http: TestClient, tmp_path: Path
) -> None:
    kept = http.post("/v1/images", files=STAR).json()["images"][0]["id"]
    services = services_of(http)
    break_storage(tmp_path)
    answer = http.post("/v1/images", json={"image": {"id": kept}})
    assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable")
    (tmp_path / "blobs").unlink()
    (tmp_path / "blobs").mkdir()
    assert services.uploads.find("public", kept).id == kept
    answer = http.post("/v1/images", json={"image": {"id": kept}})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-name")
