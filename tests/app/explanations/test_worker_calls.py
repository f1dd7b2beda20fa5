"""Calls that wait for a worker: they hold up nobody, take their turns, and end with whoever waits for them."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis
from starlette.requests import ClientDisconnect, Request

from app.auth.principal import ANONYMOUS, Principal
from app.contract.errors import RiseError
from app.contract.queue.jobs import PREDICT, JobQueue
from app.contract.redis.client import connect
from app.contract.settings import Settings
from app.explanations import worker_calls
from app.explanations.worker_calls import MAX_CALLS_PER_CALLER, WorkerCalls, cancel_on_disconnect
from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.contract.test_jobs import run_worker
from tests.support.faulty_model import MOOD
from tests.workers.supervision.test_supervision import MODELS

QUEUE = f"rq:queue:{Settings().queue}"
MORE_THAN_THREADS = 45
STAR = {"image": (SAMPLES / "star.jpg").read_bytes()}


@dataclass(frozen=True)
class Busy:
    """A service whose only worker takes a second for a batch of one of its models, until it is told to be well."""

    service: Service
    mood: Path
    redis: Redis

    def explain(self, model: str, **fields: str) -> str:
        """Return the address of a new explanation."""
        data = {"model": model, "until": "1", "seed": str(time.monotonic_ns()), **fields}
        answer = httpx2.post(f"{self.service.url}/v1/explanations", files=STAR, data=data, timeout=60)
        return self.service.url + answer.headers["location"]

    def keep_busy(self) -> str:
        """Return the address of an explanation that runs from now on, slowly."""
        self.mood.write_text("is slow")
        here = self.explain("moody", grid="16", masks="4096")
        wait_until(lambda: status_of(here) == "running")
        return here

    def predict(self) -> httpx2.Response:
        return httpx2.post(f"{self.service.url}/v1/models/shapes/predict", files=STAR, timeout=120)

    def measure(self, here: str) -> httpx2.Response:
        return httpx2.post(f"{here}/metrics", json={"metrics": ["deletion"], "steps": 31}, timeout=120)

    def rest(self) -> None:
        self.mood.write_text("well")
        for body in get(f"{self.service.url}/v1/explanations", params={"status": "running"}).json():
            httpx2.post(self.service.url + body["links"]["cancel"], timeout=60)
        wait_until(lambda: self.waiting() == 0)

    def waiting(self) -> int:
        return self.redis.llen(QUEUE)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    folder = tmp_path_factory.mktemp("office")
    (folder / "models.toml").write_text(MODELS)
    mood = folder / "mood"
    mood.write_text("well")
    service = start_service(folder / "data", RISE_MODELS=str(folder / "models.toml"), **{MOOD: str(mood)})
    with Redis.from_url((service.data / "redis.url").read_text()) as redis:
        wait_until(lambda: all(model["state"] == "ready" for model in get(f"{service.url}/v1/models").json()))
        yield Busy(service, mood, redis)
    stop_service(service)


@pytest.fixture
def busy(office: Busy) -> Iterator[Busy]:
    yield office
    office.rest()


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to pass within ten seconds")


def get(address: str, **options: Any) -> httpx2.Response:
    return httpx2.get(address, timeout=60, **options)


def status_of(here: str) -> str:
    return str(get(here).json()["status"])


@pytest.mark.slow
def test_calls_that_wait_hold_up_no_reads_and_those_that_are_too_many_are_told_so(busy: Busy) -> None:
    here = busy.keep_busy()
    with ThreadPoolExecutor(MORE_THAN_THREADS) as pool:
        asked: list[Future[httpx2.Response]] = [pool.submit(busy.predict) for _ in range(MORE_THAN_THREADS)]
        wait_until(lambda: busy.waiting() >= MAX_CALLS_PER_CALLER)
        reads = [get(here), get(f"{here}?wait=0"), get(f"{busy.service.url}/readyz"), get(f"{here}/image")]
        early = [call.result() for call in asked if call.done()]
        busy.mood.write_text("well")
        answers = [call.result() for call in asked]
    assert [read.status_code for read in reads] == [200] * 4
    assert {answer.status_code for answer in early} <= {429}
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == MORE_THAN_THREADS - MAX_CALLS_PER_CALLER
    assert {answer.json()["code"] for answer in refused} == {"too-many-requests"}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)


@pytest.mark.slow
def test_an_explanation_waits_for_one_measurement_and_not_for_all(busy: Busy) -> None:
    measured = busy.explain("moody", masks="64")
    assert get(measured, params={"wait": 30}).json()["status"] == "succeeded"
    running = busy.keep_busy()
    with ThreadPoolExecutor(5) as pool:
        asked: list[Future[httpx2.Response]] = [pool.submit(busy.measure, measured) for _ in range(5)]
        wait_until(lambda: busy.waiting() == 5)
        here = busy.explain("shapes", masks="64")
        httpx2.post(f"{running}/cancel", timeout=60)
        assert get(here, params={"wait": 30}).json()["status"] == "succeeded"
        still_waiting = [call for call in asked if not call.done()]
        busy.mood.write_text("well")
        assert {call.result().status_code for call in asked} == {200}
    assert len(still_waiting) >= 3


@pytest.mark.parametrize("kind", ["prediction", "measurement"])
def test_a_call_whose_client_goes_away_is_taken_off_the_queue(busy: Busy, kind: str) -> None:
    measured = busy.explain("shapes", masks="64")
    assert get(measured, params={"wait": 30}).json()["status"] == "succeeded"
    here = busy.keep_busy()
    asked: dict[str, Any] = {"url": f"{busy.service.url}/v1/models/shapes/predict", "files": STAR}
    if kind == "measurement":
        asked = {"url": f"{measured}/metrics", "json": {}}
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(**asked, timeout=2)
    wait_until(lambda: busy.waiting() == 0)
    assert status_of(here) == "running"


def test_a_call_that_nobody_answers_is_busy_and_leaves_nothing_behind(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_calls, "CALL_SECONDS", 1.5)
    with pytest.raises(RiseError, match="every worker is busy"):
        asyncio.run(WorkerCalls(JobQueue(redis, timeout_seconds=60)).call(ANONYMOUS, "q", PREDICT, "a"))
    assert redis.keys("rq:job:*") == []
    assert redis.llen("rq:queue:q") == 0


def test_a_call_may_wait_for_longer_than_a_silent_server_is_trusted(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_calls, "CALL_SECONDS", 11)
    with connect(valkey) as redis, pytest.raises(RiseError, match="every worker is busy"):
        asyncio.run(WorkerCalls(JobQueue(redis, timeout_seconds=60)).call(ANONYMOUS, "nobody", PREDICT, "a"))


def test_an_answer_is_what_the_worker_found_or_what_went_wrong_there(redis: Redis) -> None:
    desk = WorkerCalls(JobQueue(redis, timeout_seconds=60))

    async def answered(*given: object) -> Any:
        asking = asyncio.create_task(desk.call(ANONYMOUS, "q", PREDICT, *given))
        while not redis.llen("rq:queue:q"):
            await asyncio.sleep(0.01)
        run_worker(redis, [])
        return await asking

    assert asyncio.run(answered("found", 3)) == 3
    with pytest.raises(RiseError, match="the model is ill"):
        asyncio.run(answered("code", "model-failed", "detail", "the model is ill"))


def test_nobody_s_calls_are_refused_because_of_another_s_and_places_come_back(redis: Redis) -> None:
    desk = WorkerCalls(JobQueue(redis, timeout_seconds=60))
    one, other = (Principal("tenant", frozenset(), key=key) for key in ("one", "other"))

    async def fill(caller: Principal, *, then_waiting: int) -> list[asyncio.Task[Any]]:
        asked = [asyncio.create_task(desk.call(caller, "q", PREDICT)) for _ in range(MAX_CALLS_PER_CALLER)]
        while redis.llen("rq:queue:q") < then_waiting:
            await asyncio.sleep(0.01)
        with pytest.raises(RiseError, match="16 calls of yours wait"):
            await desk.call(caller, "q", PREDICT)
        return asked

    async def leave(asked: list[asyncio.Task[Any]]) -> None:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    async def come_and_go() -> None:
        asked = await fill(one, then_waiting=MAX_CALLS_PER_CALLER)
        others = await fill(other, then_waiting=2 * MAX_CALLS_PER_CALLER)
        await leave(asked)
        while redis.llen("rq:queue:q") > MAX_CALLS_PER_CALLER:
            await asyncio.sleep(0.01)
        asked = await fill(one, then_waiting=2 * MAX_CALLS_PER_CALLER)
        await leave([*asked, *others])

    asyncio.run(come_and_go())
    assert redis.llen("rq:queue:q") == 0


def test_work_for_a_client_ends_when_the_client_goes_and_not_before() -> None:
    ended: list[str] = []

    async def work() -> str:
        try:
            await asyncio.sleep(0.05)
        finally:
            ended.append("work")
        return "done"

    async def serve(*, stays: bool) -> str:
        messages = [{"type": "http.request"}] + ([] if stays else [{"type": "http.disconnect"}])

        async def receive() -> dict[str, str]:
            if not messages:
                await asyncio.sleep(60)
            return messages.pop(0)

        return await cancel_on_disconnect(Request({"type": "http"}, receive), work())

    assert asyncio.run(serve(stays=True)) == "done"
    with pytest.raises(ClientDisconnect):
        asyncio.run(serve(stays=False))
    assert ended == ["work", "work"]
