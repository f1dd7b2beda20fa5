"""What a worker costs that is killed in the middle of a long explanation, with the settings that ship."""

import os
import signal
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
from redis import Redis
from rq import Worker

from bench.rows import Row
from tests.conftest import SAMPLES
from tests.support.replicas import replicas

MASKS = 40_000
_KILLED_AT = MASKS // 2
_MOST_SECONDS = 5.0


def rows(rounds: int) -> list[Row]:
    """Kill the worker of one explanation after another, each half done; a second worker is there to go on."""
    with tempfile.TemporaryDirectory() as folder:
        alone = {"RISE_SHARE_SECONDS": "3600"}
        noticed, again = [], []
        for round_ in range(rounds):
            place = Path(folder) / str(round_)
            place.mkdir()
            with (
                replicas(place, front_ends=1, workers=2, **alone) as (address,),
                httpx2.Client(base_url=address) as client,
            ):
                seconds = _killed(client, place)
                noticed.append(seconds[0])
                again.append(seconds[1])
    most = max(again)
    return [
        Row(
            "SIGKILL in the middle of a long explanation: another worker goes on after", f"{max(noticed):.0f} s at most"
        ),
        Row(
            f"and does work again for (largest of {rounds}, median {statistics.median(again):.1f} s)",
            f"{most:.1f} s",
            f"<= {_MOST_SECONDS:g} s",
            most <= _MOST_SECONDS,
        ),
    ]


def _killed(client: httpx2.Client, folder: Path) -> tuple[float, float]:
    """Return the seconds until somebody went on, and those that were needed beyond what was left."""
    image = (SAMPLES / "star.jpg").read_bytes()
    data = {"model": "shapes", "masks": str(MASKS), "until": "1"}
    here = client.post("/v1/explanations", files={"image": image}, data=data).headers["location"]
    before = _until(client, here, lambda body: (body["progress"] or {"masks": 0})["masks"] >= _KILLED_AT)
    with Redis.from_url(f"unix://{folder}/s") as redis:
        (worker,) = [each for each in Worker.all(redis) if each.get_state() == "busy"]
    killed_at, left = time.time(), before["progress"]["total"] - before["progress"]["masks"]
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    after = _until(client, here, lambda body: body["status"] == "succeeded")
    started, finished = (datetime.fromisoformat(after[name]).timestamp() for name in ("started_at", "finished_at"))
    return started - killed_at, finished - started - left / before["progress"]["masks_per_second"]


def _until(client: httpx2.Client, here: str, is_so: Any) -> dict[str, Any]:
    for _ in range(6000):
        body: dict[str, Any] = client.get(here).json()
        if is_so(body):
            return body
        time.sleep(0.05)
    raise RuntimeError(f"it takes too long: {body}")
