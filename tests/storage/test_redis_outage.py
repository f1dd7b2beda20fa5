"""A Redis server that is away for a while, or answers and takes nothing in: nothing accepted is lost."""

import time
from collections.abc import Callable, Iterator

import httpx2
import pytest
from redis import Redis

from tests.app.explanations.test_events import endless
from tests.conftest import Service, start_service, stop_service
from tests.support.api_requests import explain
from tests.support.environments import free_port
from tests.support.redis_servers import redis_server
from tests.support.sse import opened
from tests.support.tcp_gate import Gate, gate_to
from tests.system.test_worker_faults import ended, submit, wait_for_masks

pytestmark = pytest.mark.slow

MASKS = 8000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    with redis_server(tmp_path_factory.mktemp("redis") / "server", port):
        yield port


@pytest.fixture(scope="module")
def gate(server: int) -> Iterator[Gate]:
    with gate_to(server) as between:
        yield between


@pytest.fixture(scope="module")
def remote(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with a server of somebody else; a worker counts as lost after two seconds without a sign."""
    url = f"redis://127.0.0.1:{gate.port}/0"
    running = start_service(
        tmp_path_factory.mktemp("remote") / "data",
        REDIS_URL=url,
        RISE_CHECKPOINT_SECONDS="0.3",
        RISE_SWEEP_SECONDS="0.5",
    )
    yield running
    stop_service(running)


@pytest.fixture
def http(remote: Service, gate: Gate) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=remote.url, timeout=120) as client:
        yield client
    gate.reopen()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.1)


def refusal(http: httpx2.Client, star: bytes, seed: int) -> str:
    """Return why a request is refused while the server does not do what it is there for."""
    answer = explain(http, star, masks=256, until=1, seed=seed)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
    assert int(answer.headers["retry-after"]) > 0
    readiness = http.get("/readyz")
    assert (readiness.status_code, readiness.json()["redis"]) == (503, "failing")
    return str(answer.json()["detail"])


def test_a_job_and_its_reader_outlast_a_server_that_is_away_for_longer_than_a_worker_may_be_silent(
    remote: Service, http: httpx2.Client, gate: Gate, star: bytes
) -> None:
    here = submit(remote, masks=MASKS, seed=1)
    with opened(http, f"{here}/events") as events:
        wait_for_masks(here, 1500)
        before = http.get(here).json()
        gate.shut()
        assert "does not answer" in refusal(http, star, 91)
        gate.reopen()
        names = [event.event for event in events]
    assert names[-1] == "succeeded"
    after = ended(here)
    assert after["provenance"]["masks_used"] >= MASKS  # type: ignore[index]
    assert after["started_at"] == before["started_at"]  # the same execution, from its first mask to its last
    assert len(remote.worker_ids()) == 1
    assert explain(http, star, masks=256, until=1, seed=91).json()["status"] == "succeeded"


def test_a_server_that_falls_silent_is_not_waited_for_for_ever(
    remote: Service, http: httpx2.Client, gate: Gate, star: bytes
) -> None:
    here = submit(remote, masks=MASKS, seed=2)
    wait_for_masks(here, 1500)
    gate.go_silent()
    assert "does not answer" in refusal(http, star, 92)
    gate.shut()
    gate.reopen()
    assert ended(here)["status"] == "succeeded"


def test_a_server_without_memory_takes_no_requests_and_loses_no_job(
    remote: Service, http: httpx2.Client, server: int, star: bytes
) -> None:
    done = explain(http, star, masks=256, until=1, seed=3).json()
    here = submit(remote, masks=MASKS, seed=4)
    wait_for_masks(here, 1500)
    started_at = http.get(here).json()["started_at"]
    with Redis(port=server) as redis:
        redis.config_set("maxmemory", 1)
        try:
            assert "out of memory" in refusal(http, star, 93)
            assert http.get(done["targets"][0]["links"]["npy"]).status_code == 200
            stopped_at = http.get(here).json()["progress"]["masks"]
            assert http.get(here).json()["progress"]["masks"] == stopped_at
        finally:
            redis.config_set("maxmemory", 0)
    body = ended(here)
    assert body["status"] == "succeeded", body
    assert body["started_at"] == started_at


def test_an_explanation_whose_job_got_lost_in_a_failover_gets_a_new_one(
    remote: Service, http: httpx2.Client, server: int, star: bytes
) -> None:
    running, waiting = endless(http, star, 6), submit(remote, masks=256, seed=7)
    lost = waiting.rsplit("/", 1)[1]
    with Redis(port=server) as redis:  # a replica that had heard of the explanation, and of nothing after it
        assert redis.delete(f"rq:job:{lost}") == 1
        assert redis.lrem("rq:queue:default", 0, lost) == 1
        until(lambda: bool(redis.exists(f"rq:job:{lost}")))
    http.delete(running)
    assert ended(waiting)["status"] == "succeeded"


def test_a_server_that_has_become_a_replica_takes_no_requests_until_it_is_the_master_again(
    remote: Service, http: httpx2.Client, server: int, star: bytes
) -> None:
    here = submit(remote, masks=MASKS, seed=5)
    wait_for_masks(here, 1500)
    with Redis(port=server) as redis:
        redis.replicaof("127.0.0.1", str(free_port()))
        try:
            assert "accepts no writes" in refusal(http, star, 94)
        finally:
            redis.replicaof("NO", "ONE")
    assert ended(here)["status"] == "succeeded"
