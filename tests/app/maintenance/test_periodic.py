"""The runner of background tasks: it goes on whatever a run raises, and waits for what it has begun."""

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from app.contract.redis.leases import Leases
from app.maintenance.periodic import PeriodicTask, consumer, exclusive, running

SOON = 0.001


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(SOON)


def failures(task: str) -> float:
    return REGISTRY.get_sample_value("rise_background_failures_total", {"task": task}) or 0.0


class StrangeError(Exception):
    """An exception that no module of this service knows."""


@pytest.mark.parametrize("error", [StrangeError("odd"), TimeoutError(), asyncio.CancelledError(), KeyError("x")])
def test_a_run_that_raises_is_logged_counted_and_followed_by_the_next(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[BaseException | None] = [error, error, None, None]
    name = f"raises_{type(error).__name__}"

    async def function() -> None:
        if len(outcomes) > 1 and (outcome := outcomes.pop(0)) is not None:
            raise outcome

    async def run() -> None:
        async with running(PeriodicTask(name, function, SOON)):
            await until(lambda: len(outcomes) == 1)

    asyncio.run(run())
    assert failures(name) == 2
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in logged] == [f"background task {name} failed"] * 2
    assert all(record.exc_info and record.exc_info[0] is type(error) for record in logged)


def test_a_task_that_has_not_failed_is_counted_with_zero() -> None:
    async def function() -> None: ...

    async def run() -> None:
        async with running(PeriodicTask("never_fails", function, SOON)):
            await asyncio.sleep(SOON)

    asyncio.run(run())
    assert REGISTRY.get_sample_value("rise_background_failures_total", {"task": "never_fails"}) == 0


def test_a_run_in_a_thread_comes_to_its_end_before_the_process_does(redis: Redis) -> None:
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def function() -> None:
        begun.set()
        release.wait(30)
        ended.set()

    async def run() -> None:
        task = PeriodicTask("in_thread", exclusive(Leases(redis), "in_thread", function, seconds=60), SOON)
        async with running(task, grace_seconds=30):
            await until(begun.is_set)
            asyncio.get_running_loop().call_later(0.1, release.set)
        assert ended.is_set()

    asyncio.run(run())


def test_a_run_that_does_not_end_is_abandoned_after_its_grace(caplog: pytest.LogCaptureFixture) -> None:
    async def function() -> None:
        while not released:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                continue

    async def run() -> None:
        async with running(PeriodicTask("stubborn", function, SOON), grace_seconds=0.05):
            await asyncio.sleep(0.05)
        released.append(True)

    released: list[bool] = []
    asyncio.run(run())
    assert "background task stubborn does not end" in caplog.text


def test_of_several_processes_one_has_a_run(redis: Redis) -> None:
    runs: list[int] = []

    async def run() -> None:
        for number in range(3):
            await exclusive(Leases(redis), "one", partial(runs.append, number), seconds=60)()

    asyncio.run(run())
    assert runs == [0]


class Items:
    """A queue of numbers."""

    def __init__(self, count: int) -> None:
        self.waiting = list(range(count))
        self.handled: list[int] = []
        self.handling = self.most = 0
        self.release = asyncio.Event()

    def lease(self, count: int) -> list[int]:
        leased, self.waiting = self.waiting[:count], self.waiting[count:]
        return leased

    async def handle(self, item: int) -> None:
        self.handling += 1
        self.most = max(self.most, self.handling)
        try:
            await self.release.wait()
            if item % 5 == 0:
                raise StrangeError(item)
            self.handled.append(item)
        finally:
            self.handling -= 1

    def task(self, name: str) -> PeriodicTask:
        return consumer(
            name, self.lease, self.handle, describe=lambda item: f"item {item}", concurrency=4, interval_seconds=SOON
        )


def test_several_items_are_handled_at_once_and_one_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        items = Items(20)
        async with running(items.task("consumes")):
            await until(lambda: items.handling == 4)
            items.release.set()
            await until(lambda: len(items.handled) == 16)
        assert items.most == 4

    asyncio.run(run())
    assert failures("consumes") == 4
    assert "background task consumes failed with item 15" in caplog.text


def test_a_queue_that_cannot_be_read_is_read_again() -> None:
    async def run() -> None:
        items = Items(0)
        items.release.set()

        def lease(count: int) -> list[int]:
            if not failures("unreadable"):
                raise StrangeError
            items.waiting = [1]
            return items.lease(count)

        task = consumer("unreadable", lease, items.handle, describe=str, concurrency=1, interval_seconds=SOON)
        async with running(task):
            await until(lambda: bool(items.handled))

    asyncio.run(run())


def test_what_is_being_handled_at_the_end_is_finished_and_nothing_else_is_begun() -> None:
    async def run() -> None:
        items = Items(20)
        async with running(items.task("ends"), grace_seconds=30):
            await until(lambda: items.handling == 4)
            asyncio.get_running_loop().call_later(0.05, items.release.set)
        assert sorted(items.handled) == [1, 2, 3]
        assert len(items.waiting) == 16

    asyncio.run(run())


def test_what_goes_on_for_longer_than_its_grace_is_interrupted() -> None:
    async def run() -> None:
        items = Items(20)
        async with running(items.task("interrupted"), grace_seconds=0.05):
            await until(lambda: items.handling == 4)
        assert items.handling == 0
        assert items.handled == []

    asyncio.run(run())
