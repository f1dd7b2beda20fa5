"""Whatever a job raises is told as what it is, to whoever reads the explanation or waits for the answer."""

import json
import logging
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from redis import Redis
from redis.exceptions import ConnectionError, OutOfMemoryError
from rq.serializers import JSONSerializer

from app.contract.counters import PersistentCounters
from app.contract.explanations.reuse_index import BlockReuseIndex
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import ASSIST, EXPLAIN, MEASURE, PREDICT, JobQueue
from app.contract.queue.rq_compat import job_class, open_queue
from app.contract.redis.keys import record_key
from app.contract.schemas import CanonicalRequest, Failure, JsonObject, ModelRef, Status
from app.contract.storage.object_store import BlobStore, image_blob
from tests.conftest import SAMPLES
from tests.contract.test_store import a_record
from workers.blackbox import CPU
from workers.execution.assistance import help_with
from workers.execution.run import ExplanationRun, JobContext, load_and_plan
from workers.execution.shards import PeerWorkers, ShardQueue
from workers.registry.model_registry import ModelRegistry
from workers.supervision.retry_policy import RetryPolicy
from workers.supervision.watchdog import Watchdog
from workers.supervision.worker import InProcessWorker
from workers.tasks import explain, measure, predict

MODELS = '[shapes]\nloader = "python"\nsource = "workers.demo.shapes:load"\n'


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    file = tmp_path_factory.mktemp("models") / "models.toml"
    file.write_text(MODELS)
    models = ModelRegistry(file, CPU)
    models.load_all()
    return models


@pytest.fixture
def context(redis: Redis, models: ModelRegistry, tmp_path: Path) -> JobContext:
    """What a job may use, with the picture of an explanation."""
    blobs = BlobStore((tmp_path / "blobs").as_uri())
    blobs.put(image_blob("one"), (SAMPLES / "star.jpg").read_bytes())
    jobs = JobQueue(redis, timeout_seconds=60)
    team = PeerWorkers(redis, jobs, ShardQueue(redis), queue="q", worker="w", share_after_seconds=100)
    return JobContext(
        store=ExplanationStore(redis, keep_seconds=600),
        blobs=blobs,
        models=models,
        statistics=PersistentCounters(redis),
        checkpoint_seconds=1,
        peers=team,
        reuse_index=BlockReuseIndex(redis),
    )


def enqueue(context: JobContext, **changes: Any) -> None:
    digest = context.models.get("shapes").digest
    asked = {"method": "rise", "targets": None, "parameters": {"masks": 64}} | changes
    request = CanonicalRequest(model=ModelRef(id="shapes", digest=digest), **asked)
    context.store.create(a_record().model_copy(update={"request": request}))
    context.peers.jobs.enqueue_explanation("q", "one", again=False, tags=SchedulingTags("public"))


@pytest.fixture
def work(context: JobContext, redis: Redis, tmp_path: Path) -> Callable[..., None]:
    """What lets a worker as it runs in production do all jobs that wait, then look after those that were lost."""
    tasks: dict[str, Any] = {EXPLAIN: explain, ASSIST: help_with, PREDICT: predict, MEASURE: measure}
    jobs = job_class({name: partial(task, context) for name, task in tasks.items()})
    queue = open_queue(redis, "q", jobs)
    retries = RetryPolicy(redis, context.store, context.blobs, queue, crashes=tmp_path)
    worker = InProcessWorker(
        [queue],
        name="w",
        connection=redis,
        job_class=jobs,
        serializer=JSONSerializer,
        heartbeat_seconds=1,
        stopping=context.stopping,
        watchdog=Watchdog("w", stall_seconds=60, blocked_seconds=60, folder=tmp_path),
        retries=retries,
        on_job_end=lambda _: None,
    )

    def work(jobs: int | None = None) -> None:
        worker.work(burst=True, max_jobs=jobs)
        retries.requeue_abandoned(worker)

    return work


def error_of(context: JobContext) -> Failure:
    record = context.store.read("one")
    assert record is not None
    assert record.status is Status.FAILED
    assert record.error is not None
    return record.error


def attempts_at(redis: Redis) -> int:
    entries: Any = redis.xrange("rise:events:one")
    return sum(fields[b"event"] == b"running" for _, fields in entries)


def test_an_explanation_runs_in_this_harness(context: JobContext, work: Callable[..., None], redis: Redis) -> None:
    enqueue(context)
    work()
    record = context.store.read("one")
    assert record is not None
    assert record.status is Status.SUCCEEDED, record.error
    assert attempts_at(redis) == 1


def test_a_worker_that_leaves_before_the_first_block_hands_the_job_back_with_all_its_attempts(
    context: JobContext, work: Callable[..., None], redis: Redis
) -> None:
    enqueue(context)
    context.stopping.set()
    work(jobs=1)
    assert redis.lrange("rq:queue:q", 0, -1) == [b"one"]
    assert redis.hget("rq:job:one", "retries_left") == b"2"
    context.stopping.clear()
    work()
    assert context.store.status_of("one") is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "from-the-future"}, "KeyError: 'from-the-future'"),
        ({"parameters": {"masks": 64, "from_the_future": 1}}, "ValidationError: from_the_future: Extra inputs"),
    ],
)
def test_what_nobody_has_foreseen_fails_once_as_internal_and_says_what_it_was(
    context: JobContext,
    work: Callable[..., None],
    redis: Redis,
    caplog: pytest.LogCaptureFixture,
    changes: JsonObject,
    words: str,
) -> None:
    enqueue(context, **changes)
    with caplog.at_level(logging.WARNING):
        work()
    assert error_of(context).code == "internal"
    assert words in error_of(context).detail
    assert attempts_at(redis) == 1
    (line,) = [line for line in caplog.records if line.name == "workers.tasks"]
    assert line.getMessage().startswith("explanation one failed: ")
    assert line.exc_info


def test_an_explanation_that_this_version_cannot_read_fails_as_internal(
    context: JobContext, work: Callable[..., None], redis: Redis
) -> None:
    enqueue(context)
    redis.hset(record_key("one"), "image", '{"width": "wide"}')
    work()
    assert redis.hget(record_key("one"), "status") == b'"failed"'
    assert b'"code": "internal"' in (redis.hget(record_key("one"), "error") or b"")
    assert attempts_at(redis) == 1


def test_a_job_that_its_function_does_not_understand_fails_as_internal(
    context: JobContext, work: Callable[..., None], redis: Redis
) -> None:
    enqueue(context)
    redis.hset("rq:job:one", "data", zlib.compress(json.dumps([EXPLAIN, None, ["one", "more"], {}]).encode()))
    work()
    assert error_of(context).code == "internal"
    assert "TypeError" in error_of(context).detail


def test_what_a_full_server_refuses_is_left_for_another_attempt(context: JobContext, redis: Redis) -> None:
    enqueue(context)
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            explain(context, "one")
    finally:
        redis.config_set("maxmemory", 0)
    assert context.store.status_of("one") is Status.QUEUED


def test_an_outage_that_outlasts_all_attempts_is_told_as_one(
    context: JobContext, work: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise ConnectionError("redis://user:secret@host")

    enqueue(context)
    monkeypatch.setattr(context.store, "start", away)
    work()
    assert error_of(context) == Failure(code="unavailable", detail="Redis does not answer; so ended 3 of 3 attempts")


def call(context: JobContext, work: Callable[..., None], function: str, *arguments: Any) -> Any:
    """Return what whoever waits for a call is told."""
    job = context.peers.jobs.ask("q", function, *arguments, seconds=30)
    work()
    result = job.latest_result()
    assert result is not None
    return result.return_value


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (MEASURE, ("one", {"metrics": ["from-the-future"]}), "ValidationError: metrics.0: Input should be"),
        (PREDICT, ("shapes", None, 5), "TypeError"),
    ],
)
def test_whoever_waits_for_a_call_is_told_what_nobody_has_foreseen(
    context: JobContext, work: Callable[..., None], function: str, arguments: tuple[Any, ...], words: str
) -> None:
    told = call(context, work, function, *arguments)
    assert told["code"] == "internal"
    assert words in told["detail"]


def test_an_assistant_that_fails_leaves_the_explanation_to_its_leader(
    context: JobContext, work: Callable[..., None], redis: Redis
) -> None:
    enqueue(context, method="from-the-future")
    context.peers.shards.open("one", "x", first=0, limit=8, plan_digest="aim")
    redis.delete("rq:queue:q")
    context.peers.jobs.enqueue_assistance("q", "one", 1)
    work()
    assert context.store.status_of("one") is Status.QUEUED


class NoSuchThing:
    """Fails whoever uses it."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used")


def test_an_execution_that_is_made_has_asked_nobody_for_anything(context: JobContext) -> None:
    image = Image.open(SAMPLES / "star.jpg").convert("RGB")
    enqueue(context)
    record = context.store.read("one")
    assert record is not None
    model, study = load_and_plan(context, record, image)
    nothing: Any = NoSuchThing()
    away = replace(context, store=nothing, blobs=nothing, models=nothing, reuse_index=nothing, peers=nothing)
    ExplanationRun(away, record, "x", model, study, began=0)
