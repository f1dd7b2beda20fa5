"""What is left of explanations, batches and uploads when they have expired: nothing that grows."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis

from app.contract.storage.object_store import BlobStore, archive_blob, effects_blob, image_blob, upload_blob
from tests.app.batches.test_batches import pictures, send, wait_for
from tests.app.batches.test_zip_reader import packed
from tests.app.explanations.test_events import endless
from tests.conftest import Service, start_service, stop_service
from tests.storage.test_object_store import kill_in_the_middle
from tests.support.api_requests import WAIT, explain
from tests.support.environments import free_port
from tests.support.redis_servers import redis_server

pytestmark = pytest.mark.slow

KEEP_SECONDS = 4
_SIZES = {"hash": "hlen", "zset": "zcard", "set": "scard", "list": "llen", "stream": "xlen"}


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with redis_server(tmp_path / "redis", port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def forgetful(tmp_path: Path, redis_url: str) -> Iterator[Service]:
    """A service that forgets in seconds."""
    running = start_service(
        tmp_path / "data", REDIS_URL=redis_url, RISE_KEEP_SECONDS=str(KEEP_SECONDS), RISE_SWEEP_SECONDS="0.3"
    )
    yield running
    stop_service(running)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.2)


def lasting(redis: Redis) -> dict[str, int]:
    """Return the size of each key that never expires, of those that are there for more than a worker.

    Statistics have a field for each kind of end that there was, and whether what was cancelled had begun is chance.
    """
    sizes = {}
    for key in redis.scan_iter("*"):
        name = key.decode()
        if redis.ttl(name) == -1 and not name.startswith(("rq:worker:", "rise:worker:", "rise:statistics")):
            kind: Any = redis.type(name)
            sizes[name] = getattr(redis, _SIZES.get(kind.decode(), "strlen"))(name)
    return sizes


def use(http: httpx2.Client, star: bytes, round_number: int) -> None:
    """Do a bit of everything, never twice the same."""
    explain(http, star, headers={**WAIT, "Idempotency-Key": f"{round_number}"}, masks=128, until=1, seed=round_number)
    http.post("/v1/images", files={"image": star}).raise_for_status()
    http.post(f"{endless(http, star, 100 + round_number)}/cancel").raise_for_status()
    http.delete(endless(http, star, 200 + round_number)).raise_for_status()
    wait_for(http, send(http, packed(*pictures(3)), seed=str(round_number)), succeeded=3)


def files_below(folder: Path) -> set[str]:
    """Return the names of all files; unlike `Path.rglob` it does not mind folders that are removed meanwhile."""
    return {name for _, _, names in os.walk(folder) for name in names}


def test_what_has_expired_takes_no_room_in_redis_nor_in_the_storage(
    forgetful: Service, redis_url: str, star: bytes
) -> None:
    blobs = forgetful.data / "blobs"
    with httpx2.Client(base_url=forgetful.url, timeout=60) as http, Redis.from_url(redis_url) as redis:
        seen = []
        for round_number in range(2):
            use(http, star, round_number)
            until(lambda: files_below(blobs) <= {"ping"})
            until(lambda: not redis.keys("rise:explanation:*") and not redis.keys("rise:batch:*"))
            until(lambda: redis.zcard("rise:due") == 0)
            seen.append(lasting(redis))
        assert seen[0] == seen[1]
        assert not [name for name in seen[0] if "explanation" in name or "rq:job" in name]


def test_what_nobody_refers_to_is_swept_whatever_left_it(forgetful: Service) -> None:
    folder = forgetful.data / "blobs"
    blobs = BlobStore(folder.as_uri())
    left = [
        image_blob("crashed-before-its-record"),
        effects_blob("lost-with-the-server", "superseded", 0, 1),
        upload_blob("unknown"),
        f"{archive_blob('unfinished')}/000000",
        "predictions/unanswered/image",
    ]
    for name in left:
        blobs.put(name, b"left")
    kill_in_the_middle(folder, image_blob("half"))
    until(lambda: not any((folder / name).exists() for name in left))
    assert (folder / f"{image_blob('half')}#1").exists()  # because its writer might live


def test_effects_of_a_superseded_execution_go_with_the_explanation(forgetful: Service, star: bytes) -> None:
    with httpx2.Client(base_url=forgetful.url, timeout=60) as http:
        body = explain(http, star, masks=128, until=1).json()
        blobs = BlobStore((forgetful.data / "blobs").as_uri())
        late = effects_blob(body["id"], "superseded", 9, 1)
        blobs.put(late, b"late")
        until(lambda: http.get(body["links"]["self"]).status_code == 410)
        until(lambda: not blobs.names("explanations"))
