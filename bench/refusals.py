"""What a full queue costs: how fast it refuses, and what a request that is let in pays for those who wait before it."""

import statistics
import time

import httpx2

from bench.rows import Row

_LONG = {"model": "shapes", "masks": "20000", "until": "1", "priority": "batch"}
_REFUSALS = 100


def rows(url: str, image: bytes) -> list[Row]:
    """Fill the queue to its bound with long explanations, then knock."""
    with httpx2.Client(base_url=url, timeout=120) as client:
        accepted: list[float] = []
        refused: list[float] = []
        for seed in range(10**6):
            started = time.perf_counter()
            answer = client.post("/v1/explanations", files={"image": image}, data={**_LONG, "seed": str(seed)})
            seconds = time.perf_counter() - started
            (refused if answer.status_code == 503 else accepted).append(seconds)
            if len(refused) == _REFUSALS:
                break
    first, last, no = (1000 * statistics.median(part) for part in (accepted[:50], accepted[-50:], refused))
    return [
        Row(
            f"refusal while {len(accepted)} explanations wait",
            f"{no:.1f} ms (median of {_REFUSALS})",
            "<= 20 ms",
            no <= 20,
        ),
        Row(
            "POST that is let in: the last 50 before the queue is full / the first 50",
            f"{last / first:.2f} ({last:.1f} ms and {first:.1f} ms)",
        ),
    ]
