"""A roll-out during work: new front ends and workers up, the balancer led to them, the old ones asked to leave."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
import pytest
from redis import Redis

from rise_client import Client
from tests.conftest import SAMPLES
from tests.support.redis_servers import redis_server
from tests.support.tcp_gate import Gate, gate_to
from tests.torture.members import Member
from tests.torture.stage import free_ports

pytestmark = pytest.mark.slow

_GENERATIONS = 2
_LONG = {"model": "shapes", "masks": 1500, "until": 1}


@dataclass
class Deployment:
    """What is deployed around one Redis server.

    Attributes:
        folder: of data and logs.
        environment: of every process.
        balancer: where clients find the service.
        running: the front end and the worker of the present generation.
    """

    folder: Path
    environment: dict[str, str]
    balancer: Gate
    running: list[Member] = field(default_factory=list)

    def roll_out(self) -> list[Member]:
        """Start the next generation, lead clients there when it is ready, and return the old one, asked to leave."""
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        front_end = [str(Path(sys.executable).with_name("rise-serve")), "api"]
        worker = [sys.executable, "-m", "workers", "worker"]
        working = self._member("worker", worker, lambda: self._is_announced(working.pid))
        new = [self._member("front-end", front_end, lambda: is_ready(url), RISE_PORT=str(port)), working]
        for member in new:
            member.start()
        for member in reversed(new):
            member.wait_until_up()
        self.balancer.lead_to(port)
        old, self.running = self.running, new
        for member in old:
            member.end()
        return old

    def end(self) -> None:
        """End everything."""
        for member in self.running:
            member.discard()

    def _member(self, name: str, command: list[str], is_up: Callable[[], bool], **settings: str) -> Member:
        return Member(name, command, {**self.environment, **settings}, self.folder / f"{name}.log", is_up)

    def _is_announced(self, pid: int) -> bool:
        with Redis.from_url(self.environment["REDIS_URL"]) as redis:
            return any(f"-{pid}-" in str(name) for name in redis.zrange("rise:workers", 0, -1))


def is_ready(url: str) -> bool:
    try:
        models = httpx2.get(f"{url}/v1/models", timeout=10).json()
    except httpx2.TransportError:
        return False
    return any(model["id"] == "shapes" and model["state"] == "ready" for model in models)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    (port,) = free_ports(1)
    url = f"redis://127.0.0.1:{port}/0"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RISE_", "REDIS"))}
    settings = {"REDIS_URL": url, "RISE_REDIS_URL": url, "RISE_DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    settings |= {"RISE_HEARTBEAT_SECONDS": "1", "RISE_CHECKPOINT_SECONDS": "0.3"}
    with ExitStack() as stack:
        stack.enter_context(redis_server(tmp_path / "redis", port, "--appendonly", "yes"))
        balancer = stack.enter_context(gate_to(0))
        deployed = Deployment(tmp_path, {**inherited, **settings}, balancer)
        stack.callback(deployed.end)
        deployed.roll_out()
        yield deployed


@dataclass
class Customer:
    """A client that asks and polls until it is told to go home; it takes down every error it sees.

    Attributes:
        url: of the service.
        number: makes what it asks for its own.
        held: whether its readings are held, and when it asks, that as well.
    """

    url: str
    number: int
    held: bool
    ended: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def work(self, over: threading.Event) -> None:
        try:
            while not over.is_set():
                self.ended.append(self._explain(1000 * self.number + len(self.ended)))
        except (httpx2.HTTPError, AssertionError) as error:
            self.errors.append(repr(error))

    def _explain(self, seed: int) -> str:
        """Explain with a connection for each request, as through a balancer that keeps none."""
        data = {name: json.dumps(value).strip('"') for name, value in {**_LONG, "seed": seed}.items()}
        files = {"image": (SAMPLES / "star.jpg").read_bytes()}
        prefer = {"Prefer": "wait=20"} if self.held else {}
        answer = httpx2.post(f"{self.url}/v1/explanations", files=files, data=data, headers=prefer, timeout=60)
        while True:
            assert answer.status_code in {200, 202}, f"{answer.status_code} {answer.text}"
            body = answer.json()
            if body["status"] not in {"queued", "running"}:
                return str(body["status"])
            time.sleep(0 if self.held else 0.05)
            wait = {"wait": 20} if self.held else {}
            answer = httpx2.get(self.url + body["links"]["self"], params=wait, timeout=60)


def test_a_roll_out_during_work_loses_nothing_and_shows_no_error_to_anybody(deployment: Deployment) -> None:
    url, over = f"http://127.0.0.1:{deployment.balancer.port}", threading.Event()
    customers = [Customer(url, number, held=number % 2 == 0) for number in range(4)]
    threads = [threading.Thread(target=customer.work, args=[over]) for customer in customers]
    for thread in threads:
        thread.start()
    with Client(url) as client:
        followed = client.explain(SAMPLES / "ring.jpg", model="shapes", masks=5000, until=1, seed=7)
        left = [member for _ in range(_GENERATIONS) for member in deployment.roll_out()]
        over.set()
        for thread in threads:
            thread.join()
        assert [customer.errors for customer in customers] == [[]] * len(customers)
        assert {status for customer in customers for status in customer.ended} == {"succeeded"}
        assert np.isfinite(followed.wait().map).all()
    assert all(seconds < 10 for member in left for seconds in member.endings), [member.endings for member in left]
