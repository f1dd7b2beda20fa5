"""Arriving explanations on a real Valkey: record and job appear together, once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from app.contract.arrivals import Arrivals
from app.contract.queue import EXPLAIN, Jobs, job_class, open_queue
from app.contract.schemas import Failure
from app.contract.store import Store
from app.contract.turns import Turn
from tests.test_store import a_record


@pytest.fixture
def arrivals(redis: Redis) -> Arrivals:
    return Arrivals(redis, Store(redis, keep_seconds=600), Jobs(redis, timeout_seconds=60))


def run(redis: Redis) -> list[Any]:
    calls: list[Any] = []
    jobs = job_class({EXPLAIN: calls.append})
    queue = open_queue(redis, "q", jobs)
    SimpleWorker([queue], connection=redis, job_class=jobs, serializer=JSONSerializer).work(burst=True)
    return calls


def test_what_arrives_is_stored_and_on_the_queue(redis: Redis, arrivals: Arrivals) -> None:
    record = a_record()
    assert arrivals.arrive(record, "q", Turn("a")) == (True, 0)
    assert Store(redis, keep_seconds=600).read(record.id) == record
    assert run(redis) == [record.id]


def test_many_who_bring_the_same_one_at_once_make_one_explanation_and_one_job(redis: Redis, arrivals: Arrivals) -> None:
    record = a_record()
    with ThreadPoolExecutor(8) as threads:
        created = [made for made, _ in threads.map(lambda _: arrivals.arrive(record, "q", Turn("a")), range(40))]
    assert created.count(True) == 1
    assert run(redis) == [record.id]


def test_what_waits_moves_to_a_better_lane_and_stays_one(redis: Redis, arrivals: Arrivals) -> None:
    record = a_record()
    Jobs(redis, timeout_seconds=60).enqueue_explanation("q", "other", again=False, turn=Turn("b", "batch"))
    assert arrivals.arrive(record, "q", Turn("a", "batch")) == (True, 1)
    assert arrivals.arrive(record, "q", Turn("a", "batch")) == (False, None)
    assert arrivals.arrive(record, "q", Turn("a")) == (False, 0)
    assert run(redis) == [record.id, "other"]


def test_what_has_failed_arrives_anew_in_the_place_of_its_old_job(redis: Redis, arrivals: Arrivals) -> None:
    record, store = a_record(), Store(redis, keep_seconds=600)
    arrivals.arrive(record, "q", Turn("a"))
    store.fail(record.id, Failure(code="no-target", detail="nothing there"))
    jobs = Jobs(redis, timeout_seconds=60)
    jobs.enqueue_explanation("q", "other", again=False, turn=Turn("b"))
    assert arrivals.arrive(record, "q", Turn("a", seconds=1)) == (True, 1)
    assert run(redis) == ["other", record.id]
