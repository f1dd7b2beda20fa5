"""Twice as much as the service can do, for two minutes: what is accepted comes to its end; others are told the truth.

Capacity is measured first: how many explanations end in a second while the worker is never idle. Then requests come at
twice that rate, one by one, whatever becomes of those before. Whoever is refused comes back once, when the refusal's
`Retry-After` has passed; his request counts as one of those that come. Meanwhile somebody reads states.

Whether room was made is known afterwards: an explanation leaves the queue when it starts.
"""

import statistics
import tempfile
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx2

from bench.rows import Row
from tests.conftest import SAMPLES, Service, start_service, stop_service

_QUEUE = 8
_MASKS = 500
_WARM_UP, _MEASURED = 4, 24
_SECONDS = 120.0
_TIMES = 2.0
_READS_PER_SECOND = 50.0
_END_SECONDS = 120.0


@dataclass(frozen=True)
class Refusal:
    """Somebody who was not let in.

    Attributes:
        at: when, in seconds since 1970.
        retry_after: what he was told, in seconds.
        seed: of his request.
    """

    at: float
    retry_after: float
    seed: int


@dataclass
class Gathered:
    """What came of the requests.

    Attributes:
        accepted: addresses of explanations.
        refusals: of those who came for the first time.
        returned: whether each who came back was let in.
        others: answers that are neither.
        reads: seconds of each reading of a state.
    """

    accepted: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    returned: list[bool] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)


def rows(seconds: float = _SECONDS) -> list[Row]:
    """Measure capacity, then offer twice as much."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"RISE_MAX_QUEUED": str(_QUEUE), "RISE_HEARTBEAT_SECONDS": "5"}
        service = start_service(Path(folder) / "data", **settings)
        try:
            with httpx2.Client(base_url=service.url, timeout=60) as client:
                per_second = _capacity(client)
                gathered = _offer(service, client, per_second * _TIMES, seconds)
                bodies = _ends(client, gathered.accepted)
        finally:
            stop_service(service)
    return _rows(gathered, bodies, per_second, seconds)


def _post(client: httpx2.Client, seed: int) -> httpx2.Response:
    files = {"image": (SAMPLES / "star.jpg").read_bytes()}
    data = {"model": "shapes", "masks": str(_MASKS), "until": "1", "seed": str(seed)}
    return client.post("/v1/explanations", files=files, data=data)


def _capacity(client: httpx2.Client) -> float:
    """Return how many explanations end in a second, with a few that wait at any time."""

    def explain(seed: int) -> float:
        answer = _post(client, seed)
        assert answer.status_code == 202, answer.text
        client.get(answer.headers["location"], params={"wait": 60}).raise_for_status()
        return time.perf_counter()

    with ThreadPoolExecutor(3) as pool:
        ended = sorted(pool.map(explain, range(_WARM_UP + _MEASURED)))
    return (_MEASURED - 1) / (ended[-1] - ended[_WARM_UP])


def _offer(service: Service, client: httpx2.Client, per_second: float, seconds: float) -> Gathered:
    """Send so many requests a second."""
    gathered, coming_back = Gathered(), deque[Refusal]()
    with _reading(service, gathered), ThreadPoolExecutor(16) as pool:
        started = time.perf_counter()
        for number in range(int(per_second * seconds)):
            time.sleep(max(0.0, started + number / per_second - time.perf_counter()))
            due = coming_back and coming_back[0].at + coming_back[0].retry_after <= time.time()
            again = coming_back.popleft() if due else None
            pool.submit(_knock, client, 1000 + number, again, gathered, coming_back)
    return gathered


def _knock(
    client: httpx2.Client, seed: int, again: Refusal | None, gathered: Gathered, coming_back: deque[Refusal]
) -> None:
    answer = _post(client, again.seed if again else seed)
    if answer.status_code == 202:
        gathered.accepted.append(answer.headers["location"])
    elif answer.status_code == 503 and answer.json()["code"] == "busy":
        refusal = Refusal(time.time(), float(answer.headers["retry-after"]), seed)
        if again is None:
            gathered.refusals.append(refusal)
            coming_back.append(refusal)
    else:
        gathered.others.append(answer.text)
    if again is not None:
        gathered.returned.append(answer.status_code == 202)


@contextmanager
def _reading(service: Service, gathered: Gathered) -> Iterator[None]:
    """Read the states of what was accepted, at a steady pace, while the block lasts."""
    over = threading.Event()

    def read() -> None:
        with httpx2.Client(base_url=service.url, timeout=60) as client:
            while not over.wait(1 / _READS_PER_SECOND):
                for here in gathered.accepted[-1 - len(gathered.reads) % 10 :][:1]:
                    began = time.perf_counter()
                    client.get(here).raise_for_status()
                    gathered.reads.append(time.perf_counter() - began)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _ends(client: httpx2.Client, accepted: list[str]) -> list[dict[str, str]]:
    """Return what became of each explanation, when all have ended or the time is up."""
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        bodies = [client.get(here).json() for here in accepted]
        if not any(body["status"] in {"queued", "running"} for body in bodies):
            break
        time.sleep(1)
    return bodies


def _rows(gathered: Gathered, bodies: list[dict[str, str]], per_second: float, seconds: float) -> list[Row]:
    lost = sum(body["status"] != "succeeded" for body in bodies)
    slow = statistics.quantiles(gathered.reads, n=100)[98] * 1000
    started = sorted(datetime.fromisoformat(body["started_at"]).timestamp() for body in bodies if body["started_at"])
    waits = [(refusal.retry_after, _room_after(started, refusal.at)) for refusal in gathered.refusals]
    known = [(told, room) for told, room in waits if room is not None]
    in_time = sum(told >= room for told, room in known) / len(known)
    beyond = statistics.median(told - room for told, room in known)
    what = f"{_TIMES:g} times the capacity ({per_second:.1f} per second) for {seconds:.0f} s"
    let_in = sum(gathered.returned) / len(gathered.returned)
    first = len(gathered.accepted) - sum(gathered.returned)
    newcomers = first / (first + len(gathered.refusals))
    told = [refusal.retry_after for refusal in gathered.refusals]
    return [
        Row(
            f"{what}: accepted and not succeeded afterwards",
            f"{lost} of {len(bodies)} ({len(gathered.refusals)} refused)",
            "0",
            lost == 0,
        ),
        Row("meanwhile: answers that are neither 202 nor `busy`", str(len(gathered.others)), "0", not gathered.others),
        Row(
            "meanwhile: reading a state, 99th percentile",
            f"{slow:.0f} ms (median {statistics.median(gathered.reads) * 1000:.1f} ms, {len(gathered.reads):,} reads)",
            "<= 50 ms",
            slow <= 50,
        ),
        Row(
            "refused: there was room when `Retry-After` had passed",
            f"{in_time:.0%} (told {min(told):.0f} to {max(told):.0f} s; "
            f"room was made {beyond:.1f} s before, in the median)",
            ">= 90%",
            in_time >= 0.9,
        ),
        Row(
            "refused: let in when they came back just then, with as many others at the door as ever",
            f"{let_in:.0%} of {len(gathered.returned)} (of newcomers {newcomers:.0%})",
        ),
    ]


def _room_after(started: list[float], moment: float) -> float | None:
    """Return the seconds until the next explanation left the queue; None where none did."""
    place = bisect_right(started, moment)
    return started[place] - moment if place < len(started) else None
