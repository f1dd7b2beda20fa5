"""A survey of hundreds of images while a worker and the front end are killed: all are there, once."""

import csv
import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from bench.demo_training.pictures import Picture
from tests.app.batches.test_surveys import send
from tests.conftest import Service, start_service, stop_service, wait_for_models
from tests.support.annotated_pictures import draw_pictures
from tests.system.test_worker_faults import kill_worker, without_addresses

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

IMAGES = int(os.environ.get("RISE_TEST_SURVEY_IMAGES", "400"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with two workers."""
    running = start_service(tmp_path_factory.mktemp("pair") / "data", RISE_WORKERS="2", RISE_MAX_BATCH_IMAGES="5000")
    wait_for_models(running)
    yield running
    stop_service(running)


def test_a_large_survey_whose_worker_and_front_end_are_killed_has_each_image_once_and_the_report_of_an_undisturbed_one(
    pair: Service,
) -> None:
    quarter = IMAGES // 4
    pictures = draw_pictures(marked=quarter, unmarked=quarter, others=IMAGES - 2 * quarter, seed=2, side=64)
    with httpx2.Client(base_url=pair.url, timeout=60) as http:
        batch = begun(http, pictures)
        wait_until_ended(http, batch, IMAGES // 4)
        kill_worker(pair)
        wait_until_ended(http, batch, IMAGES // 2)
        kill_front_end(pair)
        wait_until_ended(http, batch, 3 * IMAGES // 4)
        kill_worker(pair)
        disturbed = report_of(http, batch)
        rows = list(csv.DictReader(io.StringIO(http.get(disturbed["links"]["csv"]).text)))
        assert [int(row["index"]) for row in rows] == list(range(IMAGES))
        assert len({row["explanation"] for row in rows}) == IMAGES
        assert http.get(batch["links"]["self"]).json()["counts"] == {"succeeded": IMAGES}
        http.delete(batch["links"]["self"]).raise_for_status()
        undisturbed = report_of(http, begun(http, pictures))
    assert disturbed["images"] == IMAGES
    assert disturbed["left_out"] == []
    assert disturbed["sentences"] == undisturbed["sentences"]
    for part in ("labels", "clusters"):
        assert without_addresses(disturbed[part]) == without_addresses(undisturbed[part])
    assert [each["place"] for each in disturbed["clusters"] if each["suspicious"]] == ["lower left corner"]


def begun(http: httpx2.Client, pictures: list[Picture]) -> Any:
    return send(http, pictures, model="clever-hans", masks="64", evidence="false")


def wait_until(holds: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.3)


def wait_until_ended(http: httpx2.Client, batch: Any, images: int) -> None:
    wait_until(lambda: http.get(batch["links"]["self"]).json()["counts"].get("succeeded", 0) >= images, seconds=900)


def report_of(http: httpx2.Client, batch: Any) -> Any:
    wait_until_ended(http, batch, IMAGES)
    wait_until(lambda: http.get(batch["links"]["report"]).status_code == 200, seconds=300)
    return http.get(batch["links"]["report"]).json()


def kill_front_end(service: Service) -> None:
    """Kill the front end, and wait for the next one."""
    (victim,) = front_ends(service)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: bool(set(front_ends(service)) - {victim}), seconds=60)
    wait_until(lambda: answers(service), seconds=60)


def front_ends(service: Service) -> list[int]:
    return [pid for pid, command in service.children().items() if "uvicorn" in command]


def answers(service: Service) -> bool:
    try:
        return httpx2.get(f"{service.url}/readyz", timeout=5).is_success
    except httpx2.TransportError:
        return False
