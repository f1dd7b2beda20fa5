"""How attempts at a job end, as every worker knows it: RQ counts, the notes say why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import SimpleWorker, get_current_job
from rq.job import Job
from rq.serializers import JSONSerializer

from app.contract.counters import LOST_ATTEMPTS, PersistentCounters
from app.contract.errors import StorageError
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import EXPLAIN, SURVEY_REPORT, JobQueue
from app.contract.queue.rq_compat import job_class, open_queue
from app.contract.schemas import Failure, Status
from app.contract.storage.object_store import BlobStore, survey_failure_blob, survey_folder
from tests.contract.test_store import a_record, a_store
from workers.execution.run import requeue_at_front
from workers.supervision.retry_policy import RetryPolicy, attempt_of

BROKEN = Failure(code="model-failed", detail="the device broke under model 'm'")


@pytest.fixture
def store(redis: Redis) -> ExplanationStore:
    """A store with an explanation that is on the queue."""
    store = a_store(redis)
    store.create(a_record())
    JobQueue(redis, timeout_seconds=60).enqueue_explanation("q", "one", again=False, tags=SchedulingTags("public"))
    return store


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore((tmp_path / "blobs").as_uri())


@pytest.fixture
def run(
    redis: Redis, store: ExplanationStore, blobs: BlobStore, tmp_path: Path
) -> Callable[[Callable[[RetryPolicy, Job], Any]], None]:
    """What runs a function with the explanation's job until nothing is queued any more, then looks for lost jobs."""

    def run(function: Callable[[RetryPolicy, Job], Any]) -> None:
        def task(*_: object) -> Any:
            return function(retries, current_job())

        jobs = job_class({EXPLAIN: task, SURVEY_REPORT: task})
        queue = open_queue(redis, "q", jobs)
        retries: RetryPolicy = RetryPolicy(redis, store, blobs, queue, crashes=tmp_path)
        worker = SimpleWorker([queue], connection=redis, job_class=jobs, serializer=JSONSerializer)
        worker.work(burst=True)
        retries.requeue_abandoned(worker)

    return run


def current_job() -> Job:
    job = get_current_job()
    assert job is not None
    return job


def failure_of(store: ExplanationStore) -> Failure:
    record = store.read("one")
    assert record is not None
    assert record.status is Status.FAILED
    assert record.error is not None
    return record.error


def breaking(retries: RetryPolicy, job: Job) -> None:
    retries.on_broken_device(job, "m", BROKEN)
    raise RuntimeError("the device is gone")


def test_what_was_noted_is_the_reason_after_three_attempts(run: Any, store: ExplanationStore, redis: Redis) -> None:
    run(breaking)
    assert failure_of(store).code == "model-failed"
    assert failure_of(store).detail == "the device broke under model 'm'; so ended 3 of 3 attempts"
    (counted,) = [one for one in PersistentCounters(redis).read() if one.metric == LOST_ATTEMPTS]
    assert (counted.labels, counted.value) == (("m", "device-broken"), 3)


def test_an_attempt_of_which_nothing_was_noted_does_not_hide_why_another_ended(
    run: Any, store: ExplanationStore
) -> None:
    def breaking_first(retries: RetryPolicy, job: Job) -> None:
        if attempt_of(job) == "2":
            retries.on_broken_device(job, "m", BROKEN)
        raise RuntimeError("the server is gone")

    run(breaking_first)
    assert failure_of(store).detail.endswith("so ended 1 of 3 attempts")


def test_where_nothing_was_noted_the_workers_were_lost(run: Any, store: ExplanationStore) -> None:
    def raising(_: RetryPolicy, __: Job) -> None:
        raise RuntimeError("the server is gone")

    run(raising)
    assert failure_of(store).code == "worker-lost"


def test_a_survey_whose_workers_were_lost_three_times_has_its_failure_beside_it(
    run: Any, blobs: BlobStore, redis: Redis
) -> None:
    def raising(_: RetryPolicy, __: Job) -> None:
        raise RuntimeError("the worker is gone")

    queue = JobQueue(redis, timeout_seconds=60)
    queue.enqueue_task("q", "survey-b-report", SURVEY_REPORT, "b", 3, tags=SchedulingTags("public"))
    run(raising)
    failure = Failure.model_validate_json(blobs.get(survey_failure_blob("b")))
    assert failure.code == "worker-lost"
    assert not open_queue(redis, "q").count


def test_a_survey_that_the_storage_failed_has_no_failure_of_its_own(run: Any, blobs: BlobStore, redis: Redis) -> None:
    def refusing(retries: RetryPolicy, job: Job) -> None:
        retries.on_exception(job, StorageError, StorageError("the disk is full"))
        raise RuntimeError("the disk is full")

    queue = JobQueue(redis, timeout_seconds=60)
    queue.enqueue_task("q", "survey-b-report", SURVEY_REPORT, "b", 3, tags=SchedulingTags("public"))
    run(refusing)
    assert blobs.names(survey_folder("b")) == []


def test_a_job_that_is_handed_back_has_lost_no_attempt(run: Any) -> None:
    seen: list[str] = []

    def handing_back(_: RetryPolicy, job: Job) -> object:
        seen.append(attempt_of(job))
        return requeue_at_front() if len(seen) < 8 else None

    run(handing_back)
    assert seen == ["2"] * 8


def test_an_explanation_that_is_asked_for_again_begins_with_its_first_attempt(
    run: Any, store: ExplanationStore, redis: Redis
) -> None:
    run(breaking)
    store.create(a_record())
    JobQueue(redis, timeout_seconds=60).enqueue_explanation("q", "one", again=True, tags=SchedulingTags("public"))
    seen: list[str] = []
    run(lambda _, job: seen.append(attempt_of(job)))
    assert seen == ["2"]


def test_a_note_on_a_job_that_is_gone_leaves_nothing_that_looks_like_a_job(
    store: ExplanationStore, blobs: BlobStore, redis: Redis, tmp_path: Path
) -> None:
    queue = open_queue(redis, "q")
    job = queue.fetch_job("one")
    assert job is not None
    job.delete()
    RetryPolicy(redis, store, blobs, queue, crashes=tmp_path).on_broken_device(job, "m", BROKEN)
    assert not redis.exists(job.key)
