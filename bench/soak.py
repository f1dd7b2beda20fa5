"""Does anything grow? Two thousand explanations of small pictures, an hour's work shortened in time and not in number.

Everything a client does is in it: waiting, polling, maps and pictures, cancelling, deleting; the service forgets after
seconds, and sweeps. Afterwards processes must be as large as after the first hundred, and Redis as before the first.
What Redis remembers for a week of each explanation that has expired, so that its readers learn that it was there, is
counted and left out.
"""

import io
import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image
from redis import Redis

from bench.rows import Row
from tests.conftest import SAMPLES, Service, start_service, stop_service, wait_for_models
from tests.support.attacker import resident_bytes
from tests.support.environments import free_port
from tests.support.redis_servers import redis_server

COUNT = 2000
_FIRST = 100
_SIDE = 64
_CLIENTS = 3
_KEEP_SECONDS = 15
_EXPIRY_SECONDS = 120.0
_WITHIN = 1.05
_KINDS: tuple[dict[str, Any], ...] = (
    {"model": "shapes", "masks": 32, "grid": 4},
    {"model": "shapes-detector", "masks": 32, "grid": 4, "targets": [{"box": [8, 8, 40, 40]}], "rescue": False},
    {"model": "shapes", "masks": 32, "grid": 4, "method": "mc-rise", "colors": ["#ff0000", "black"]},
    {"model": "clever-hans", "masks": 32, "grid": 4, "fill": "blur", "targets": "top:2"},
    {"model": "shapes", "masks": 32, "grid": 4, "score": "logit"},
    {"model": "shapes", "masks": 32, "grid": 4},
    {"model": "shapes", "masks": 64, "estimator": "paper"},
)


def rows(count: int = COUNT) -> list[Row]:
    """Explain so many pictures and compare."""
    with tempfile.TemporaryDirectory() as folder, _forgetful(Path(folder)) as (service, redis):
        pictures = _pictures(count)
        wait_for_models(service)
        _work(service, redis, pictures[:2])
        time.sleep(1)
        base = _used(redis)
        began = time.perf_counter()
        _work(service, redis, pictures[2:_FIRST])
        early = _resident(service)
        _work(service, redis, pictures[_FIRST:])
        seconds = time.perf_counter() - began
        late = _resident(service)
        peak = _used(redis)
        _wait_for_expiry(redis)
        after, tombstones = _used_without_tombstones(redis)
    megabytes = {name: (early[name] / 1e6, late[name] / 1e6) for name in early}
    found = [
        _growth(f"{count:,} explanations ({seconds:.0f} s): {name}, resident at the end / after {_FIRST}", *sizes, "MB")
        for name, sizes in megabytes.items()
    ]
    what = f"Redis after the last has expired / before the first ({peak / 1e6:.1f} MB at the end of the work"
    what += f"; without {tombstones / 1e3:.0f} KB that say for a week that they were there)"
    return [*found, _growth(what, base / 1e6, after / 1e6, "MB")]


def _growth(what: str, before: float, after: float, unit: str) -> Row:
    ratio = after / before
    return Row(what, f"{ratio:.3f} ({after:.1f} and {before:.1f} {unit})", f"<= {_WITHIN}", ratio <= _WITHIN)


@contextmanager
def _forgetful(folder: Path) -> Iterator[tuple[Service, Redis]]:
    """Start a service that forgets in seconds, with a Redis server of its own."""
    port = free_port()
    with redis_server(folder / "redis", port, "--appendonly", "yes"), Redis(port=port) as redis:
        service = start_service(
            folder / "data",
            REDIS_URL=f"redis://127.0.0.1:{port}/0",
            RISE_KEEP_SECONDS=str(_KEEP_SECONDS),
            RISE_SWEEP_SECONDS="1",
            RISE_HEARTBEAT_SECONDS="5",
        )
        try:
            yield service, redis
        finally:
            stop_service(service)


def _pictures(count: int) -> list[tuple[int, bytes]]:
    """Return numbered pictures, no two of them alike."""
    samples = [Image.open(SAMPLES / f"{name}.jpg").convert("RGB") for name in ("star", "ring", "several")]
    small = [np.asarray(sample.resize((_SIDE, _SIDE))) for sample in samples]
    found = []
    for number in range(count):
        pixels = small[number % len(small)].copy()
        pixels[0, :16] = np.array([255 * (number >> bit & 1) for bit in range(16)], dtype=np.uint8)[:, None]
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        found.append((number, buffer.getvalue()))
    return found


def _work(service: Service, redis: Redis, pictures: list[tuple[int, bytes]]) -> None:
    """Explain pictures, a few at once, and return when all have ended."""
    with httpx2.Client(base_url=service.url, timeout=120) as client, ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(lambda numbered: _explain(client, *numbered), pictures))
    while redis.keys("rq:job:*"):
        time.sleep(0.1)


def _explain(client: httpx2.Client, number: int, image: bytes) -> None:
    kind = {**_KINDS[number % len(_KINDS)], "until": 1}
    fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in kind.items()}
    asked: dict[str, Any] = {"files": {"image": image}, "data": fields}
    if number % 20 == 19:
        here = client.post("/v1/explanations", **asked).raise_for_status().headers["location"]
        client.post(f"{here}/cancel").raise_for_status()
        client.delete(here).raise_for_status()
        return
    body = client.post("/v1/explanations", **asked, headers={"Prefer": "wait=60"}).raise_for_status().json()
    assert body["status"] == "succeeded" or body["error"]["code"] == "no-target", body
    client.get(body["links"]["self"]).raise_for_status()
    for target in body["targets"][:1] if body["status"] == "succeeded" else []:
        for name in ("npy", "overlay"):
            client.get(target["links"][name]).raise_for_status()


def _resident(service: Service) -> dict[str, int]:
    (front_end,) = [pid for pid, command in service.children().items() if "uvicorn" in command]
    (worker,) = service.worker_ids()
    return {"front end": resident_bytes(front_end), "worker": resident_bytes(worker)}


def _used(redis: Redis) -> int:
    found: Any = redis.info("memory")
    return int(found["used_memory"])


def _wait_for_expiry(redis: Redis) -> None:
    deadline = time.monotonic() + _EXPIRY_SECONDS
    while redis.zcard("rise:due") or redis.keys("rise:explanation:*"):
        assert time.monotonic() < deadline, "explanations do not expire"
        time.sleep(1)
    time.sleep(2)


def _used_without_tombstones(redis: Redis) -> tuple[int, int]:
    """Return the used bytes without the keys that remember expired explanations, and how many those take."""
    before = _used(redis)
    names: Any = redis.keys("rise:tombstone:*")
    for first in range(0, len(names), 100):
        redis.delete(*names[first : first + 100])
    time.sleep(2)
    after = _used(redis)
    return after, before - after
