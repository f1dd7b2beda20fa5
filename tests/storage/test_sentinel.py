"""Redis behind Sentinels: what a URL says, and a failover in the middle of everything."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.connection import SSLConnection

from app.contract.redis.client import connect, connect_async
from app.contract.redis.retry import AsyncDeadlineRetry, is_connection_error
from app.contract.redis.sentinel import master_pool, master_pool_async, read_sentinel_url
from tests.conftest import start_service, stop_service
from tests.support.api_requests import explain
from tests.support.redis_servers import Watched, redis_server, watched_redis
from tests.support.sse import opened
from tests.system.test_worker_faults import ended, submit, wait_for_masks

pytestmark = pytest.mark.slow


def test_a_url_names_sentinels_the_service_and_everything_that_connections_need() -> None:
    watched = read_sentinel_url(
        "redis+sentinel://rise:p%40ss@one,two:26380/main/3?sentinel_password=other&socket_timeout=2.5"
    )
    assert watched.sentinels == (("one", 26379), ("two", 26380))
    assert watched.service == "main"
    assert watched.options == {"username": "rise", "password": "p@ss", "db": 3, "socket_timeout": 2.5}
    assert watched.sentinel_options["password"] == "other"
    assert "username" not in watched.sentinel_options
    assert "ssl" not in watched.sentinel_options


def test_tls_is_spoken_with_servers_and_sentinels() -> None:
    watched = read_sentinel_url("rediss+sentinel://one/main?ssl_ca_certs=/ca.pem")
    pool = master_pool(watched)
    assert issubclass(pool.connection_class, SSLConnection)
    assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
    assert watched.sentinel_options["ssl"] is True
    assert watched.sentinel_options["ssl_ca_certs"] == "/ca.pem"


def test_an_option_of_the_url_goes_before_the_service_s_own() -> None:
    url = "redis+sentinel://one/main?socket_timeout=2.5"
    assert connect(url, answer_seconds=7).connection_pool.connection_kwargs["socket_timeout"] == 2.5
    assert connect_async(url).connection_pool.connection_kwargs["socket_timeout"] == 2.5


@pytest.mark.parametrize("rest", ["one:26379", "one/", "/main", "one/main/first"])
def test_a_url_that_does_not_say_enough_is_refused_in_words(rest: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT/SERVICE"):
        read_sentinel_url(f"redis+sentinel://{rest}")


def fail_over(watched: Watched) -> None:
    """Kill the master, and say something to the next one."""
    watched.servers[0].kill()
    while watched.master_port() != watched.ports[1]:
        time.sleep(0.1)
    with Redis(port=watched.ports[1]) as redis:
        wait_for_connections(redis, "blpop")
        redis.rpush("heard", "new")


def wait_for_connections(redis: Redis, command: str) -> None:
    """Return when a client waits in a command."""
    while not any(client["cmd"] == command for client in redis.client_list()):
        time.sleep(0.1)


def test_a_command_that_breaks_with_its_master_is_sent_to_the_next_one(tmp_path: Path) -> None:
    with (
        watched_redis(tmp_path) as watched,
        connect(watched.url, seconds=30) as redis,
        ThreadPoolExecutor(1) as pool,
    ):
        heard = pool.submit(redis.blpop, ["heard"], 60)
        with Redis(port=watched.ports[0]) as old:
            wait_for_connections(old, "blpop")
        fail_over(watched)
        assert heard.result(60) == (b"heard", b"new")


def test_on_an_event_loop_it_is_too(tmp_path: Path) -> None:
    async def listen(url: str) -> object:
        retry = AsyncDeadlineRetry(30, is_connection_error)
        async with AsyncRedis.from_pool(master_pool_async(read_sentinel_url(url), retry=retry)) as redis:
            return await redis.blpop(["heard"], 60)

    with watched_redis(tmp_path) as watched, ThreadPoolExecutor(1) as pool:
        heard = pool.submit(asyncio.run, listen(watched.url))
        with Redis(port=watched.ports[0]) as old:
            wait_for_connections(old, "blpop")
        fail_over(watched)
        assert heard.result(60) == (b"heard", b"new")


def explain_when_there_is_a_master(http: httpx2.Client, image: bytes) -> dict[str, Any]:
    """Ask again while the answer is 503: an old master that comes back is one until the sentinel has seen it."""
    for _ in range(100):
        answer = explain(http, image, masks=256, until=1, seed=3)
        if answer.status_code != 503:
            break
        time.sleep(0.1)
    body: dict[str, Any] = answer.json()
    return body


def test_a_failover_in_the_middle_of_work_loses_neither_the_job_nor_its_reader(tmp_path: Path, star: bytes) -> None:
    with watched_redis(tmp_path) as watched:
        service = start_service(tmp_path / "data", REDIS_URL=watched.url, RISE_CHECKPOINT_SECONDS="0.3")
        try:
            with httpx2.Client(base_url=service.url, timeout=120) as http:
                here, waiting = submit(service, masks=8000, seed=1), submit(service, masks=1000, seed=2)
                with opened(http, f"{here}/events") as events:
                    wait_for_masks(here, 1500)
                    started_at = http.get(here).json()["started_at"]
                    watched.servers[0].kill()
                    assert [event.event for event in events][-1] == "succeeded"
                assert watched.master_port() == watched.ports[1]
                assert ended(here)["started_at"] == started_at
                assert ended(waiting)["status"] == "succeeded"
                with redis_server(tmp_path / "first", watched.ports[0]):  # the old master is back
                    assert explain_when_there_is_a_master(http, star)["status"] == "succeeded"
                    assert http.get("/readyz").status_code == 200
        finally:
            stop_service(service)
