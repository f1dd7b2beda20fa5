"""Two versions of the service side by side, as during an upgrade: each reads what the other stores and announces."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis

from tests.app.batches.test_batches import send, wait_for
from tests.app.batches.test_zip_reader import packed
from tests.conftest import SAMPLES
from tests.support.api_requests import WAIT, explain
from tests.support.redis_servers import redis_server
from tests.support.replicas import process
from tests.support.sse import Event, opened
from tests.torture.stage import free_ports

pytestmark = pytest.mark.slow

_FRONT_ENDS = {
    "older": [str(Path(sys.executable).with_name("rise-serve")), "api"],
    "newer": [sys.executable, "-m", "tests.support.newer_version", "app.cli.main:main", "api"],
}
_WORKERS = {
    "older": [sys.executable, "-m", "workers", "worker"],
    "newer": [sys.executable, "-m", "tests.support.newer_version", "workers.__main__:cli", "worker"],
}
_SEEDS = count()  # because the same request is not computed twice


class Deployment:
    """Front ends of both versions around one Redis server, and workers that come and go.

    Attributes:
        clients: of both front ends.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        redis_port, *ports = free_ports(3)
        self._folder, self._redis_url = folder, f"redis://127.0.0.1:{redis_port}/0"
        self._settings = {"REDIS_URL": self._redis_url, "RISE_REDIS_URL": self._redis_url, "OMP_NUM_THREADS": "1"}
        self._settings |= {"RISE_DATA": str(folder / "data"), "RISE_HEARTBEAT_SECONDS": "1"}
        stack.enter_context(redis_server(folder / "redis", redis_port))
        self.clients = {}
        for (version, command), port in zip(_FRONT_ENDS.items(), ports, strict=True):
            stack.enter_context(process(command, folder / f"{version}.log", RISE_PORT=str(port), **self._settings))
            client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
            self.clients[version] = stack.enter_context(client)

    def start(self, *versions: str) -> ExitStack:
        """Start workers; leave the stack to end them."""
        workers = ExitStack()
        for version in versions:
            workers.enter_context(process(_WORKERS[version], self._folder / f"{version}-worker.log", **self._settings))
        deadline = time.monotonic() + 90
        while not self._are_there(len(versions)):
            assert time.monotonic() < deadline, "not ready in time"
            time.sleep(0.1)
        return workers

    def announcements(self) -> list[Any]:
        """Return what workers announce."""
        with Redis.from_url(self._redis_url) as redis:
            names = redis.zrange("rise:workers", 0, -1)
            return [json.loads(redis.get(f"rise:worker:{name.decode()}") or "{}") for name in names]

    def _are_there(self, count: int) -> bool:
        said = self.announcements()
        if len(said) != count or not all(_has_shapes(one) for one in said):
            return False
        try:
            return all(client.get("/readyz").is_success for client in self.clients.values())
        except httpx2.TransportError:
            return False


def _has_shapes(announced: Any) -> bool:
    return any((card["id"], card["state"]) == ("shapes", "ready") for card in announced.get("models", []))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with ExitStack() as stack:
        yield Deployment(tmp_path_factory.mktemp("versions"), stack)


@pytest.mark.parametrize("versions", [["older"], ["newer"], ["older", "newer"]], ids="-and-".join)
def test_requests_succeed_through_front_ends_and_workers_of_two_versions(
    deployment: Deployment, versions: list[str]
) -> None:
    photo, made = (SAMPLES / "star.jpg").read_bytes(), []
    with deployment.start(*versions):
        assert [("added" in said) for said in deployment.announcements()].count(True) == versions.count("newer")
        for http in deployment.clients.values():
            for _ in range(3):
                answer = explain(http, photo, targets='[{"label": "star"}]', masks=128, until=1, seed=next(_SEEDS))
                assert (answer.status_code, answer.json()["status"]) == (200, "succeeded"), answer.text
                made.append(answer.json()["links"]["self"])
            measured = http.post(f"{made[-1]}/metrics", json={"metrics": ["average-drop"]})
            assert measured.is_success, measured.text
            predicted = http.post("/v1/models/shapes/predict", files={"image": photo})
            assert predicted.is_success, predicted.text
            batch = send(http, packed(("star.jpg", photo)))
            wait_for(http, batch, succeeded=1)
        for http in deployment.clients.values():
            assert http.get("/readyz").is_success
            assert {link["links"]["self"] for link in http.get("/v1/explanations?limit=100").json()} >= set(made)
            for link in made:
                assert http.get(link).json()["status"] == "succeeded"
                assert http.get(f"{link}/maps/0.npy").is_success
                assert "event: succeeded" in http.get(f"{link}/events").text


@pytest.mark.parametrize(("first", "second"), [("older", "newer"), ("newer", "older")])
def test_an_audit_that_a_worker_of_one_version_began_goes_on_in_the_other_and_says_the_same(
    deployment: Deployment, first: str, second: str
) -> None:
    http, photo, seed = deployment.clients["older"], (SAMPLES / "star.jpg").read_bytes(), next(_SEEDS)
    with deployment.start("older"):  # because a parameter of newer workers alone is none that older ones can read
        here = explain(http, photo, grid=16, masks=1024, until=1, seed=seed).json()["links"]["self"]
    with deployment.start(first):
        http.post(f"{here}/audit").raise_for_status()
        with opened(http, f"{here}/audit/events") as events:
            begun = next(event for event in events if passes_of(event) >= 512)
    with opened(http, f"{here}/audit/events", begun.id) as events, deployment.start(second):
        rest = list(events)
        audit = http.get(f"{here}/audit").json()
        http.delete(here).raise_for_status()
        anew = explain(http, photo, grid=16, masks=1024, until=1, seed=seed).json()["links"]["self"]
        undisturbed = http.post(f"{anew}/audit", headers=WAIT).json()
    assert [event.event for event in rest if event.event != "progress"] == ["running", "succeeded"]
    reported = [passes_of(event) for event in rest if event.event == "progress"]
    assert min(reported) >= passes_of(begun), "what is there is not computed again"
    assert (undisturbed["checks"], undisturbed["passes"]) == (audit["checks"], audit["passes"])


def passes_of(event: Event) -> int:
    """Return how many pictures the model had been asked for by then."""
    return event.data["progress"]["masks"] if event.data["progress"] else 0
