"""KServe's routes in the service itself: there only where they are switched on, below a prefix of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app.contract.settings import Settings
from app.main import create_app

PREFIX = "/integrations/kserve/v1/models"
BODY = {"instances": [[[2]]]}


@contextmanager
def client(folder: Path, url: str, **settings: Any) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(data=folder, redis_url=url, **settings))) as client:
        yield client


@pytest.mark.usefixtures("redis")
def test_the_routes_are_there_where_they_are_switched_on(tmp_path: Path, valkey: str) -> None:
    with client(tmp_path, valkey) as without:
        assert without.get(PREFIX).status_code == 404
    with client(tmp_path, valkey, kserve=True) as http:
        assert http.get(PREFIX).json() == {"models": []}
        assert http.get("/v1/models").json() == []
        assert not [path for path in http.get("/openapi.json").json()["paths"] if "explain" in path.rpartition(":")[2]]


@pytest.mark.usefixtures("redis")
def test_without_a_worker_nothing_is_ready(tmp_path: Path, valkey: str) -> None:
    with client(tmp_path, valkey, kserve=True) as http:
        for answer in (http.get(f"{PREFIX}/shapes"), http.post(f"{PREFIX}/shapes:explain", json=BODY)):
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert "no worker is running" in answer.json()["error"]


@pytest.mark.usefixtures("redis")
def test_a_service_with_keys_asks_for_one(tmp_path: Path, valkey: str) -> None:
    with client(tmp_path, valkey, kserve=True, keys="on") as http:
        for answer in (http.get(PREFIX), http.post(f"{PREFIX}/shapes:explain", json=BODY)):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert "API key" in answer.json()["error"]


def test_a_queue_that_does_not_answer_is_said_in_kserves_words(tmp_path: Path, redis: Redis) -> None:
    redis.ping()
    with client(tmp_path, f"unix://{tmp_path}/nothing", kserve=True) as http:
        answer = http.get(PREFIX)
    assert answer.status_code == 503
    assert list(answer.json()) == ["error"]
