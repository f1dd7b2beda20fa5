"""Creating explanations on a real Valkey: record and job appear together, once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from app.contract.explanations.store import ExplanationStore
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import EXPLAIN, JobQueue
from app.contract.queue.rq_compat import job_class, open_queue
from app.contract.schemas import Failure
from app.explanations.enqueue import ExplanationCreator
from tests.contract.test_store import a_record


@pytest.fixture
def creator(redis: Redis) -> ExplanationCreator:
    redis.script_flush()
    return ExplanationCreator(redis, ExplanationStore(redis, keep_seconds=600), JobQueue(redis, timeout_seconds=60))


def run(redis: Redis) -> list[Any]:
    calls: list[Any] = []
    jobs = job_class({EXPLAIN: calls.append})
    queue = open_queue(redis, "q", jobs)
    SimpleWorker([queue], connection=redis, job_class=jobs, serializer=JSONSerializer).work(burst=True)
    return calls


def test_a_new_explanation_is_stored_and_on_the_queue(redis: Redis, creator: ExplanationCreator) -> None:
    record = a_record()
    assert creator.create(record, "q", SchedulingTags("a")) == (True, 0)
    assert ExplanationStore(redis, keep_seconds=600).read(record.id) == record
    assert run(redis) == [record.id]


def test_concurrent_creations_of_the_same_one_make_one_explanation_and_one_job(
    redis: Redis, creator: ExplanationCreator
) -> None:
    record = a_record()
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda _: creator.create(record, "q", SchedulingTags("a"))[0], range(40)))
    assert created.count(True) == 1
    assert run(redis) == [record.id]


def test_what_waits_moves_to_a_better_lane_and_stays_one(redis: Redis, creator: ExplanationCreator) -> None:
    record = a_record()
    JobQueue(redis, timeout_seconds=60).enqueue_explanation(
        "q", "other", again=False, tags=SchedulingTags("b", "batch")
    )
    assert creator.create(record, "q", SchedulingTags("a", "batch")) == (True, 1)
    assert creator.create(record, "q", SchedulingTags("a", "batch")) == (False, None)
    assert creator.create(record, "q", SchedulingTags("a")) == (False, 0)
    assert run(redis) == [record.id, "other"]


def test_a_failed_one_is_created_anew_in_the_place_of_its_old_job(redis: Redis, creator: ExplanationCreator) -> None:
    record, store = a_record(), ExplanationStore(redis, keep_seconds=600)
    creator.create(record, "q", SchedulingTags("a"))
    store.fail(record.id, Failure(code="no-target", detail="nothing there"))
    jobs = JobQueue(redis, timeout_seconds=60)
    jobs.enqueue_explanation("q", "other", again=False, tags=SchedulingTags("b"))
    assert creator.create(record, "q", SchedulingTags("a", seconds=1)) == (True, 1)
    assert run(redis) == ["other", record.id]
