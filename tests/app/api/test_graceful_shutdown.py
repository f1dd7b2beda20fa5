"""A front end that is asked to leave: whoever it holds is answered, and finds everything at the next one."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx2
import psutil
import pytest

from tests.app.explanations.test_events import endless
from tests.conftest import Service, start_service, stop_service, wait_until_ready
from tests.support.api_requests import explain
from tests.support.hostile_images import encoded, picture
from tests.support.sse import opened

pytestmark = pytest.mark.slow

UNDER_WAY = {"queued", "running"}


@pytest.fixture(scope="module")
def leaving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("leaving") / "data")
    yield running
    stop_service(running)


@pytest.fixture
def http(leaving: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=leaving.url, timeout=60) as client:
        yield client


def front_end(service: Service) -> int:
    (pid,) = [pid for pid, command in service.children().items() if "uvicorn" in command]
    return pid


def wait_for_another(service: Service, gone: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            if gone not in service.children() and httpx2.get(f"{service.url}/livez", timeout=5).is_success:
                return
        time.sleep(0.1)
    raise AssertionError("no other front end")


def meanwhile(service: Service, ask: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Return what is answered to a request that is held while its front end is asked to leave."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        time.sleep(1)
        assert not answer.done()
        gone = front_end(service)
        os.kill(gone, signal.SIGTERM)
        found = answer.result()
    wait_for_another(service, gone)
    return found


def test_a_reader_that_is_held_is_told_how_far_it_is(leaving: Service, http: httpx2.Client, star: bytes) -> None:
    here = endless(http, star, 1)
    answer = meanwhile(leaving, lambda: http.get(here, params={"wait": 50}))
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] in UNDER_WAY
    assert http.post(f"{here}/cancel").status_code == 202


def test_a_request_that_is_held_is_accepted(leaving: Service, http: httpx2.Client, star: bytes) -> None:
    answer = meanwhile(leaving, lambda: explain(http, star, headers={"Prefer": "wait=50"}, masks=1_000_000, until=1))
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] in UNDER_WAY
    assert http.delete(answer.headers["location"]).status_code == 204


def test_a_request_that_takes_longer_than_a_front_end_stays_is_sent_elsewhere(
    leaving: Service, http: httpx2.Client, star: bytes
) -> None:
    (worker,) = leaving.worker_ids()
    os.kill(worker, signal.SIGSTOP)
    try:
        answer = meanwhile(leaving, lambda: http.post("/v1/models/shapes/predict", files={"image": star}))
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_until_ready(leaving)  # because a worker that stood still for long counts as gone
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
    assert int(answer.headers["retry-after"]) > 0


def test_what_may_have_been_carried_out_and_would_be_made_twice_is_not_to_be_sent_again(leaving: Service) -> None:
    (server,) = [pid for pid, command in leaving.children().items() if "valkey" in command or "redis-server" in command]
    fields = {"model": "shapes", "images": [{"id": "x"}]}
    for headers, status, code in (({}, 500, "internal"), ({"Idempotency-Key": "leaving"}, 503, "unavailable")):
        wait_until_ready(leaving)
        gone = front_end(leaving)
        with ThreadPoolExecutor(1) as pool:
            os.kill(server, signal.SIGSTOP)  # so that the batch is neither stored nor refused
            try:
                asked = pool.submit(httpx2.post, f"{leaving.url}/v1/batches", json=fields, headers=headers, timeout=60)
                time.sleep(0.5)
                os.kill(gone, signal.SIGTERM)
                answer = asked.result()
            finally:
                os.kill(server, signal.SIGCONT)
        wait_for_another(leaving, gone)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert ("retry-after" in answer.headers) == (status == 503)


def test_a_stream_of_events_ends_and_says_nothing_that_is_not_true(
    leaving: Service, http: httpx2.Client, star: bytes
) -> None:
    here = endless(http, star, 2)
    gone = front_end(leaving)
    with opened(http, f"{here}/events") as events:
        threading.Timer(1, os.kill, [gone, signal.SIGTERM]).start()
        names = [event.event for event in events]
    assert set(names) <= {"queued", "running", "progress", "preview"}
    wait_for_another(leaving, gone)
    assert http.get(here).json()["status"] in UNDER_WAY
    assert http.delete(here).status_code == 204


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_that_decode_images_end_with_their_front_end(
    leaving: Service, http: httpx2.Client, number: signal.Signals
) -> None:
    upload = encoded(picture(50, 40 + number), "PNG")
    assert http.post("/v1/images", files={"image": upload}).status_code == 201
    gone = front_end(leaving)
    decoders = psutil.Process(gone).children()
    assert ["app.images.decoder" in decoder.cmdline() for decoder in decoders] == [True]
    os.kill(gone, number)
    wait_for_another(leaving, gone)
    while any(decoder.is_running() and decoder.status() != psutil.STATUS_ZOMBIE for decoder in decoders):
        time.sleep(0.05)
