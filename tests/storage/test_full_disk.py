"""A disk that is full, for real: nothing is accepted that cannot be kept, and nothing accepted is lost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest

from tests.conftest import Service, start_service, stop_service
from tests.support.api_requests import explain
from tests.support.small_disks import fill, make_room, small_disk
from tests.system.test_worker_faults import ended, submit, the_map, wait_for_masks

pytestmark = pytest.mark.slow

MASKS = 6000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 60) as mounted:
        yield mounted


def refused(service: Service, star: bytes) -> str:
    """Return why a request is refused, of which nothing must be left."""
    with httpx2.Client(base_url=service.url, timeout=60) as http:
        before = http.get("/v1/explanations").json()
        answer = explain(http, star, masks=256, until=1, seed=99)
        assert answer.status_code == 503, answer.text
        assert [item["id"] for item in http.get("/v1/explanations").json()] == [item["id"] for item in before]
        readiness = http.get("/readyz")
        assert readiness.status_code == 503
        assert readiness.json()["storage"] == "failing"
    return f"{answer.json()['code']}: {answer.json()['detail']}"


def everything_is_read(here: str) -> None:
    """Read an explanation by many at once, so that connections are needed that are not there yet."""
    readers = 24
    ways = ["", "/maps/0.npy", "/maps/0.overlay.png", ""] * (readers // 4)
    with httpx2.Client(timeout=60) as http, ThreadPoolExecutor(readers) as threads:
        assert [answer.status_code for answer in threads.map(lambda way: http.get(here + way), ways)] == [200] * readers


def test_while_the_storage_is_full_requests_are_refused_and_jobs_wait(disk: Path, tmp_path: Path, star: bytes) -> None:
    service = start_service(tmp_path / "data", RISE_STORAGE=(disk / "blobs").as_uri(), RISE_CHECKPOINT_SECONDS="0.3")
    try:
        here = submit(service, masks=MASKS)
        wait_for_masks(here, 1500)
        fill(disk)
        wait_for_masks(here, MASKS - 500)  # because it goes on without checkpoints, and does not tell of every block
        assert refused(service, star).startswith("storage-unavailable: the storage is full")
        assert httpx2.get(here).json()["status"] == "running"
        drawn = the_map(here)  # the running map is the one of the last checkpoint, and whole
        assert np.isfinite(drawn).all()
        make_room(disk)
        assert ended(here)["status"] == "succeeded"
        assert not np.array_equal(the_map(here), drawn)
        with httpx2.Client(base_url=service.url, timeout=60) as http:
            assert explain(http, star, masks=256, until=1, seed=99).json()["status"] == "succeeded"
            assert http.get("/readyz").status_code == 200
    finally:
        stop_service(service)


def test_a_job_that_can_not_keep_its_result_for_too_long_fails_with_the_reason(disk: Path, tmp_path: Path) -> None:
    blobs = (disk / "blobs").as_uri()
    service = start_service(tmp_path / "data", RISE_STORAGE=blobs, RISE_OUTAGE_SECONDS="1")
    try:
        here = submit(service, masks=MASKS)
        wait_for_masks(here, 500)
        fill(disk)
        body = ended(here)
        assert body["status"] == "failed"
        assert body["error"]["code"] == "storage-unavailable"  # type: ignore[index]
        assert "the storage is full" in body["error"]["detail"]  # type: ignore[index]
        make_room(disk)
        again = submit(service, masks=MASKS)
        assert again == here
        assert ended(again)["status"] == "succeeded"
    finally:
        stop_service(service)


def test_where_redis_and_blobs_share_a_full_disk_everything_waits_and_goes_on(disk: Path, star: bytes) -> None:
    service = start_service(disk / "data", RISE_CHECKPOINT_SECONDS="0.3")
    try:
        here = submit(service, masks=20_000)
        wait_for_masks(here, 1500)
        fill(disk)
        with httpx2.Client(base_url=service.url, timeout=60) as http:
            for _ in range(200):
                readiness = http.get("/readyz").json()
                if readiness["redis"] == "failing":
                    break
            assert "cannot write to its disk" in readiness["detail"][0], readiness
            everything_is_read(here)
            refused(service, star)
        make_room(disk)
        assert ended(here)["status"] == "succeeded"
        with httpx2.Client(base_url=service.url, timeout=60) as http:
            assert explain(http, star, masks=256, until=1, seed=99).json()["status"] == "succeeded"
    finally:
        stop_service(service)
