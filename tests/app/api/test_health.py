"""Readiness says what is missing, and may be asked without a part; containers ask their own process."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.conftest import Service
from tests.support.environments import free_port
from tests.support.replicas import process

NOBODY_LISTENS = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Iterator[str]:
    """The address of a front end without workers."""
    folder, port = tmp_path_factory.mktemp("lonely"), free_port()
    settings = {"RISE_PORT": str(port), "RISE_REDIS_URL": valkey, "RISE_DATA": str(folder / "data")}
    command = [str(Path(sys.executable).with_name("rise-serve")), "api"]
    with process(command, folder / "log", **settings) as running:
        deadline = time.monotonic() + 60
        while running.poll() is None and time.monotonic() < deadline:
            try:
                httpx2.get(f"http://127.0.0.1:{port}/livez")
                break
            except httpx2.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"


def test_a_front_end_without_workers_is_not_ready_and_says_why(lonely: str) -> None:
    answer = httpx2.get(f"{lonely}/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "redis": "ok",
        "storage": "ok",
        "workers": "failing",
        "detail": ["workers: no worker is running"],
    }


def test_it_is_ready_where_workers_do_not_count_and_still_says_what_is_missing(lonely: str) -> None:
    answer = httpx2.get(f"{lonely}/readyz?exclude=workers")
    assert answer.status_code == 200
    assert answer.json()["ready"] is True
    assert answer.json()["workers"] == "failing"


def test_excluding_what_is_there_does_not_hide_what_is_missing(lonely: str) -> None:
    assert httpx2.get(f"{lonely}/readyz?exclude=storage").status_code == 503


def test_a_part_that_there_is_not_is_refused(lonely: str) -> None:
    answer = httpx2.get(f"{lonely}/readyz?exclude=weather")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameters")


def healthy(name: str, **settings: str) -> bool:
    found = subprocess.run(
        [sys.executable, "-m", "app.cli.healthcheck", name], env={**os.environ, **settings}, check=False, timeout=60
    )
    return found.returncode == 0


def test_the_check_of_a_front_end_asks_its_own_port(lonely: str) -> None:
    assert healthy("api", RISE_PORT=lonely.rpartition(":")[2])
    assert not healthy("api", RISE_PORT=str(free_port()))


def test_the_check_of_a_worker_looks_for_its_announcement(service: Service, valkey: str) -> None:
    assert healthy("worker", RISE_REDIS_URL=(service.data / "redis.url").read_text())
    assert not healthy("worker", RISE_REDIS_URL=valkey)


def test_a_server_that_is_away_is_not_the_worker_s_fault() -> None:
    assert healthy("worker", RISE_REDIS_URL=NOBODY_LISTENS)


def test_the_check_of_the_sender_of_callbacks_asks_redis(valkey: str) -> None:
    assert healthy("webhooks", RISE_REDIS_URL=valkey)
    assert not healthy("webhooks", RISE_REDIS_URL=NOBODY_LISTENS)


def test_a_check_that_there_is_not_is_no_health() -> None:
    assert not healthy("weather")
