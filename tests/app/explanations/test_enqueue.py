"""Arriving explanations on a real Valkey: record and job appear together, once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pytest
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from app.contract.explanations.store import ExplanationStore
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import EXPLAIN, JobQueue
from app.contract.queue.rq_compat import job_class, open_queue
from app.contract.redis.client import connect_async
from app.contract.schemas import ExplanationRecord, Failure
from app.explanations.enqueue import ExplanationCreator, NewExplanation
from tests.contract.test_store import a_record


@dataclass(frozen=True)
class Door:
    """Lets explanations arrive at a server."""

    url: str
    redis: Redis

    def arrive(self, record: ExplanationRecord, turn: SchedulingTags) -> tuple[bool, int | None]:
        return self.arrive_all([[NewExplanation(record, "q", turn)]])[0]

    def arrive_all(self, messages: Sequence[Sequence[NewExplanation]]) -> list[tuple[bool, int | None]]:
        """Let explanations arrive, each message at the same moment as the others."""
        return asyncio.run(self._arrive_all(messages))

    async def _arrive_all(self, messages: Sequence[Sequence[NewExplanation]]) -> list[tuple[bool, int | None]]:
        on_loop = connect_async(self.url)
        jobs = JobQueue(self.redis, timeout_seconds=60)
        arrivals = ExplanationCreator(on_loop, ExplanationStore(self.redis, keep_seconds=600), jobs)
        found = await asyncio.gather(*(arrivals.arrive(message) for message in messages))
        await on_loop.aclose()
        return list(chain(*found))


@pytest.fixture
def door(valkey: str, redis: Redis) -> Door:
    redis.script_flush()
    return Door(valkey, redis)


def run(redis: Redis) -> list[Any]:
    calls: list[Any] = []
    jobs = job_class({EXPLAIN: calls.append})
    queue = open_queue(redis, "q", jobs)
    SimpleWorker([queue], connection=redis, job_class=jobs, serializer=JSONSerializer).work(burst=True)
    return calls


def test_what_arrives_is_stored_and_on_the_queue(redis: Redis, door: Door) -> None:
    record = a_record()
    assert door.arrive(record, SchedulingTags("a")) == (True, 0)
    assert ExplanationStore(redis, keep_seconds=600).read(record.id) == record
    assert run(redis) == [record.id]


def test_many_who_bring_the_same_one_at_once_make_one_explanation_and_one_job(redis: Redis, door: Door) -> None:
    record = a_record()
    found = door.arrive_all([[NewExplanation(record, "q", SchedulingTags("a"))] * 4] * 10)
    created = [made for made, _ in found]
    assert created.count(True) == 1
    assert run(redis) == [record.id]


def test_what_waits_moves_to_a_better_lane_and_stays_one(redis: Redis, door: Door) -> None:
    record = a_record()
    JobQueue(redis, timeout_seconds=60).enqueue_explanation(
        "q", "other", again=False, turn=SchedulingTags("b", "batch")
    )
    assert door.arrive(record, SchedulingTags("a", "batch")) == (True, 1)
    assert door.arrive(record, SchedulingTags("a", "batch")) == (False, None)
    assert door.arrive(record, SchedulingTags("a")) == (False, 0)
    assert run(redis) == [record.id, "other"]


def test_what_has_failed_arrives_anew_in_the_place_of_its_old_job(redis: Redis, door: Door) -> None:
    record, store = a_record(), ExplanationStore(redis, keep_seconds=600)
    door.arrive(record, SchedulingTags("a"))
    store.fail(record.id, Failure(code="no-target", detail="nothing there"))
    jobs = JobQueue(redis, timeout_seconds=60)
    jobs.enqueue_explanation("q", "other", again=False, turn=SchedulingTags("b"))
    assert door.arrive(record, SchedulingTags("a", seconds=1)) == (True, 1)
    assert run(redis) == ["other", record.id]


def test_those_that_arrive_in_one_message_are_each_told_their_own_place(redis: Redis, door: Door) -> None:
    records = [a_record(name) for name in ("one", "two", "one", "three")]
    found = door.arrive_all([[NewExplanation(record, "q", SchedulingTags("a")) for record in records]])
    assert found == [(True, 0), (True, 1), (False, None), (True, 2)]
    assert run(redis) == ["one", "two", "three"]
