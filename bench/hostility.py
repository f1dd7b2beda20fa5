"""What hostile requests do to those who wait for an answer meanwhile."""

import statistics

import httpx2

from bench.rows import Row
from tests.conftest import SAMPLES, Service
from tests.support.attacker import attack
from tests.support.hostile_requests import hostile_requests

_COUNT = 10_000
_FIFTH = _COUNT // 5
_LOOK = 100  # requests from one look at the memory to the next


def rows(service: Service) -> list[Row]:
    """Attack the front end while its `/livez` is asked for."""
    files = {"image": (SAMPLES / "star.jpg").read_bytes()}
    data = {"model": "shapes", "masks": "64", "until": "1"}
    waiting = {"Prefer": "wait=60"}
    explained = httpx2.post(
        f"{service.url}/v1/explanations", files=files, data=data, headers=waiting, timeout=100
    ).json()
    (front_end,) = [pid for pid, command in service.children().items() if "uvicorn" in command]
    outcome = attack(service.url, front_end, hostile_requests(_COUNT, 0, explained["id"]))
    slowest, resident = outcome.slowest_seconds * 1000, outcome.resident_bytes
    looks = _FIFTH // _LOOK
    early, late = statistics.median(resident[looks : 2 * looks]), statistics.median(resident[-looks:])
    growth = late / early
    failed, what = len(outcome.failures), f"of {_COUNT:,} hostile requests"
    return [
        Row(f"{what}: answered by 5xx", str(failed), "0", failed == 0),
        Row(f"{what}: slowest `/livez` meanwhile", f"{slowest:.0f} ms", "<= 100 ms", slowest <= 100),
        Row(
            f"{what}: memory of the front end, last {_FIFTH:,} / second {_FIFTH:,}",
            f"{growth:.2f}",
            "<= 1.1",
            growth <= 1.1,
        ),
    ]
