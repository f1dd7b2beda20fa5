"""Two workers beside one, each on a core of its own: one large explanation, and four that come together."""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import httpx2
from redis import Redis
from rq import Worker

from bench.rows import Row
from tests.conftest import SAMPLES
from tests.support.replicas import replicas

MASKS = 24_000
_TARGET = 1.8
_SEEDS = count(1)


def rows(rounds: int) -> list[Row]:
    """Measure both, one worker and two in turns."""
    image = (SAMPLES / "star.jpg").read_bytes()
    with ExitStack() as stack:
        one, two = (stack.enter_context(_on_cores(workers)) for workers in (1, 2))
        large = [[_seconds(where, image, [MASKS]) for where in (one, two)] for _ in range(rounds)]
        four = [[_seconds(where, image, [MASKS // 4] * 4) for where in (one, two)] for _ in range(rounds)]
    return [
        _row(f"two workers on a core each beside one: one explanation of {MASKS:,} masks", large),
        _row(f"the same: four explanations of {MASKS // 4:,} masks", four),
    ]


@contextmanager
def _on_cores(workers: int) -> Iterator[str]:
    """Start a service whose workers have a core each, and give its address."""
    with tempfile.TemporaryDirectory() as folder, replicas(Path(folder), front_ends=1, workers=workers) as (address,):
        with Redis.from_url(f"unix://{folder}/s") as redis:
            for core, worker in zip(sorted(os.sched_getaffinity(0)), Worker.all(redis), strict=False):
                for thread in Path(f"/proc/{worker.pid}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), {core})
        _seconds(address, (SAMPLES / "star.jpg").read_bytes(), [512] * 2 * workers)  # warm
        yield address


def _seconds(address: str, image: bytes, masks: list[int]) -> float:
    """Return how long it takes until explanations of so many masks have all ended."""
    with httpx2.Client(base_url=address, timeout=120) as client:
        started = time.perf_counter()
        for here in [_created(client, image, each) for each in masks]:
            while (body := client.get(here, params={"wait": 60}).json())["status"] != "succeeded":
                if body["status"] not in {"queued", "running"}:
                    raise RuntimeError(f"it has {body['status']}: {body['error']}")
        return time.perf_counter() - started


def _created(client: httpx2.Client, image: bytes, masks: int) -> str:
    data = {"model": "shapes", "masks": str(masks), "until": "1", "seed": str(next(_SEEDS))}
    return str(client.post("/v1/explanations", files={"image": image}, data=data).headers["location"])


def _row(what: str, seconds: list[list[float]]) -> Row:
    times = statistics.median(one / two for one, two in seconds)
    one, two = (statistics.median(column) for column in zip(*seconds, strict=True))
    value = f"{times:.2f} times as fast ({one:.1f} s and {two:.1f} s, {len(seconds)} rounds)"
    return Row(what, value, f">= {_TARGET} times", times >= _TARGET)
