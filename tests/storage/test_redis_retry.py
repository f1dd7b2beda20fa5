"""What a server's refusals mean, and who waits for them to pass."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError, RedisError

from app.contract.redis.client import connect, connect_async, connect_with_retry
from app.contract.redis.retry import SHORT_SECONDS, describe_error, is_connection_error, is_transient
from tests.support.environments import free_port
from tests.support.redis_servers import redis_server


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    chosen = free_port()
    with redis_server(tmp_path / "redis", chosen):
        yield chosen


@pytest.fixture
def administrator(port: int) -> Iterator[Redis]:
    with Redis(port=port) as redis:
        yield redis


def command(redis: Redis) -> None:
    redis.set("a", "b")


def transaction(redis: Redis) -> None:
    steps: Any = redis.pipeline()
    steps.set("a", "b").set("c", "d").execute()


def pipeline(redis: Redis) -> None:
    steps: Any = redis.pipeline(transaction=False)
    steps.set("a", "b").set("c", "d").execute()


def script(redis: Redis) -> None:
    redis.register_script("return redis.call('SET', KEYS[1], 'b')")(keys=["a"])


WAYS = pytest.mark.parametrize("write", [command, transaction, pipeline, script])


@WAYS
@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("maxmemory", "1", "Redis is out of memory"),
        ("min-replicas-to-write", "1", "Redis has too few replicas to accept writes"),
    ],
)
def test_a_refusal_is_told_by_its_meaning_however_it_comes(
    administrator: Redis, port: int, write: Callable[[Redis], None], name: str, value: str, meaning: str
) -> None:
    administrator.config_set(name, value)
    with pytest.raises(RedisError) as refused:
        write(connect(f"redis://127.0.0.1:{port}"))
    assert describe_error(refused.value) == meaning
    assert is_transient(refused.value)
    assert not is_connection_error(refused.value)


@WAYS
def test_whoever_is_patient_is_let_in_when_the_server_takes_writes_again(
    administrator: Redis, port: int, write: Callable[[Redis], None]
) -> None:
    patient = connect_with_retry(f"redis://127.0.0.1:{port}", seconds=60, stopping=threading.Event())
    write(patient)
    administrator.flushall()
    administrator.config_resetstat()
    administrator.config_set("maxmemory", "1")
    writer = threading.Thread(target=write, args=[patient])
    writer.start()
    while refusals(administrator) < 2:
        assert writer.is_alive()
    assert administrator.exists("a") == 0
    administrator.config_set("maxmemory", "0")
    writer.join(60)
    assert administrator.get("a") == b"b"


def test_a_server_that_cannot_write_to_its_disk_is_still_read_from(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "redis"
    url = f"redis://127.0.0.1:{port}"
    with redis_server(folder, port), Redis(port=port) as administrator:
        administrator.set("a", "b")
        with disk_lost(administrator, folder):
            with pytest.raises(RedisError) as refused:
                connect(url).set("a", "c")
            assert describe_error(refused.value) == "Redis cannot write to its disk"
            assert connect(url).get("a") == b"b"
            assert connect_with_retry(url, seconds=0, stopping=threading.Event()).get("a") == b"b"
            assert asyncio.run(read_on_loop(url)) == b"b"


@contextmanager
def disk_lost(administrator: Redis, folder: Path) -> Iterator[None]:
    """Let a server find that it cannot save."""
    administrator.config_set("save", "3600 1")
    shutil.rmtree(folder)
    administrator.bgsave()
    while administrator.info("persistence")["rdb_last_bgsave_status"] != "err":
        time.sleep(0.05)
    try:
        yield
    finally:
        administrator.config_set("save", "")  # because it would not end while it has something to save


async def read_on_loop(url: str) -> Any:
    redis = connect_async(url)
    try:
        return await redis.get("a")
    finally:
        await redis.aclose()


def refusals(redis: Redis) -> int:
    found: Any = redis.info("errorstats")
    return int(found.get("errorstat_OOM", {}).get("count", 0))


def test_patience_has_an_end_and_none_when_stopping() -> None:
    nobody = f"redis://127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionError):
        connect_with_retry(nobody, seconds=0.2, stopping=threading.Event()).ping()
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(ConnectionError):
        connect_with_retry(nobody, seconds=3600, stopping=stopping).ping()  # else it would not come back in time


def test_on_the_event_loop_a_server_that_restarts_is_waited_for_and_one_that_stays_away_is_not(tmp_path: Path) -> None:
    port = free_port()

    async def write() -> float:
        redis, began = connect_async(f"redis://127.0.0.1:{port}"), time.monotonic()
        try:
            await redis.set("a", "b")
        finally:
            await redis.aclose()
        return time.monotonic() - began

    with ThreadPoolExecutor(1) as threads:
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            threads.submit(asyncio.run, write()).result(60)
        assert SHORT_SECONDS - 2 < time.monotonic() - began < SHORT_SECONDS + 2
        patient = threads.submit(asyncio.run, write())
        time.sleep(0.5)
        with redis_server(tmp_path / "redis", port):
            assert patient.result(60) < SHORT_SECONDS


def test_what_does_not_pass_by_itself_is_not_waited_for(port: int) -> None:
    patient = connect_with_retry(f"redis://127.0.0.1:{port}", seconds=3600, stopping=threading.Event())
    patient.set("a", "b")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        patient.lpush("a", "b")
