"""Status reads: always what is stored now, to whom it belongs, and few messages to Redis."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from app.api.status_cache import StatusReadCache
from app.auth.principal import ANONYMOUS
from app.contract.redis.client import connect_async
from app.contract.schemas import Status
from app.explanations.coalescer import RequestCoalescer
from app.explanations.record_reader import read_raw_records
from tests.contract.test_store import a_record, a_store, publish


def with_polls(url: str, ask: Callable[[StatusReadCache], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        redis = connect_async(url)
        try:
            return await ask(StatusReadCache(RequestCoalescer(partial(read_raw_records, redis))))
        finally:
            await redis.aclose()

    return asyncio.run(run())


def hashes_read(redis: Redis) -> int:
    found: Any = redis.info("commandstats")
    return int(found.get("cmdstat_hgetall", {"calls": 0})["calls"])


def test_what_is_shown_is_what_is_stored_now_however_often_it_was_shown_before(valkey: str, redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    store.start("one", "a")

    async def ask(polls: StatusReadCache) -> list[str]:
        statuses = []
        for _ in range(2):
            for _ in range(2):
                shown = await polls.shown(ANONYMOUS, "one")
                assert shown is not None
                statuses.append(json.loads(shown.body)["status"])
            publish(store, "a")
        store.cancel("one")
        redis.flushall()
        assert await polls.shown(ANONYMOUS, "one") is None
        return statuses

    assert with_polls(valkey, ask) == [Status.RUNNING] * 2 + [Status.SUCCEEDED] * 2


def test_another_tenant_sees_nothing_even_just_after_the_owner(valkey: str, redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    store.start("one", "a")

    async def ask(polls: StatusReadCache) -> list[bool]:
        callers = [ANONYMOUS, replace(ANONYMOUS, tenant="other"), ANONYMOUS]
        return [await polls.shown(caller, "one") is not None for caller in callers]

    assert with_polls(valkey, ask) == [True, False, True]


def test_those_who_ask_together_are_answered_by_a_few_messages(valkey: str, redis: Redis) -> None:
    store = a_store(redis)
    for number in range(3):
        store.create(a_record(f"x{number}"))
        store.start(f"x{number}", "a")

    async def ask(polls: StatusReadCache) -> list[Any]:
        return list(await asyncio.gather(*(polls.shown(ANONYMOUS, f"x{number % 3}") for number in range(90))))

    before = hashes_read(redis)
    found = with_polls(valkey, ask)
    assert hashes_read(redis) - before == 3
    assert [json.loads(shown.body)["id"] for shown in found] == [f"x{number % 3}" for number in range(90)]


def test_one_who_gives_up_takes_no_answer_from_the_others(valkey: str, redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    store.start("one", "a")

    async def ask(polls: StatusReadCache) -> Any:
        first, second = (asyncio.create_task(polls.shown(ANONYMOUS, "one")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert with_polls(valkey, ask) is not None


def test_a_server_that_is_away_is_everybody_s_error_and_not_for_ever(tmp_path: Path) -> None:
    async def ask(polls: StatusReadCache) -> list[Any]:
        return [
            await asyncio.gather(*(polls.shown(ANONYMOUS, "one") for _ in range(5)), return_exceptions=True)
            for _ in range(2)
        ]

    for errors in with_polls(f"unix://{tmp_path}/nobody", ask):
        assert len(errors) == 5
        assert all(isinstance(error, RedisError) for error in errors)


@pytest.mark.parametrize("status", ["queued", "absent"])
def test_what_waits_or_is_not_there_is_left_to_the_full_answer(valkey: str, redis: Redis, status: str) -> None:
    if status == "queued":
        a_store(redis).create(a_record())

    async def ask(polls: StatusReadCache) -> Any:
        return await polls.shown(ANONYMOUS, "one")

    assert with_polls(valkey, ask) is None
