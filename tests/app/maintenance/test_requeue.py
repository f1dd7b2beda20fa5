"""Explanations that lost their job come back as they were accepted: on a real Valkey."""

import json
import time
from datetime import UTC, datetime, timedelta

from redis import Redis

from app.admission.backlog import BacklogReader
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.fair_queue import scheduling_tags_of
from app.contract.queue.jobs import JobQueue
from app.contract.queue.rq_compat import open_queue
from app.contract.queue.throughput import ThroughputStats, workload_class
from app.contract.redis.keys import THROUGHPUT
from app.contract.schemas import Announcement, CanonicalRequest, ExplanationRecord, Failure, ModelCard, Priority, Status
from app.explanations.catalogue import CatalogueReader
from app.maintenance.last_served import ServedModels
from app.maintenance.requeue import OrphanRequeuer, OrphanScanner
from tests.contract.test_store import a_record
from workers.main import _enqueue_if_waiting

KEEP = 3600
TTL = 1000
MASKS = 700


def a_request() -> CanonicalRequest:
    return a_record().request.model_copy(update={"parameters": {"masks": MASKS}})


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


class House:
    """Store, queue and requeuer on a real server."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.store, self.jobs = ExplanationStore(redis, keep_seconds=KEEP), JobQueue(redis, timeout_seconds=60)
        self.service_times = ThroughputStats(redis)
        self.served = True
        self.requeuer = OrphanRequeuer(
            OrphanScanner(redis, keep_seconds=KEEP),
            self.store,
            self.jobs,
            self.service_times,
            CatalogueReader(self.announcements),
            ServedModels(redis, ttl_seconds=TTL),
            keep_seconds=KEEP,
            silent_seconds=0,
        )

    def announcements(self) -> list[Announcement]:
        cards = [ModelCard(id="m", task="classification", digest="d", state="ready")] if self.served else []
        return [Announcement(worker="w", queue="q", version="0", device="cpu", models=cards, methods=[], fills=[])]

    def accept(self, name: str, tenant: str = "anna", priority: Priority = "interactive") -> ExplanationRecord:
        record = a_record(name).model_copy(update={"tenant": tenant, "priority": priority, "request": a_request()})
        assert self.store.create(record)
        self.enqueue(record)
        return record

    def enqueue(self, record: ExplanationRecord) -> None:
        tags = scheduling_tags_of(record, self.service_times.seconds_per_mask())
        self.jobs.enqueue_explanation("q", record.id, again=False, tags=tags)

    def lose_jobs(self) -> None:
        """Do what a failover to a replica does that had heard of the explanations, and of nothing after them."""
        self.redis.delete("rq:queue:q", *(f"rq:job:{name}" for name in self.waiting()))

    def waiting(self) -> list[str]:
        return open_queue(self.redis, "q").get_job_ids()

    def status(self, name: str) -> Status | None:
        return self.store.status_of(name)

    def age(self, seconds: float) -> None:
        """Let all explanations have been accepted so long ago."""
        for key in self.redis.keys("rise:explanation:*"):
            self.redis.hset(key, "created_at", json.dumps(in_seconds(-seconds).isoformat()))

    def tags(self, name: str) -> list[bytes | None]:
        return self.redis.hmget(f"rq:job:{name}", "lane", "tenant", "work", "masks", "finish")  # type: ignore[return-value]


def test_a_batch_job_that_lost_its_queue_entry_comes_back_in_the_batch_lane_with_its_cost(redis: Redis) -> None:
    house = House(redis)
    work = workload_class(a_request())
    redis.hset(THROUGHPUT, mapping={f"{work} seconds": 2, f"{work} masks": 100})
    _, now = house.accept("batch", priority="batch"), house.accept("now", tenant="ben")
    before = {name: house.tags(name) for name in ("batch", "now")}
    backlog = BacklogReader(redis, house.service_times).read("q")
    assert (len(backlog), backlog.seconds) == (2, 2 * MASKS * 0.02)
    house.lose_jobs()
    house.requeuer.run()
    assert house.waiting() == ["now", "batch"]
    assert {name: house.tags(name) for name in ("batch", "now")} == before
    assert before["batch"] == [b"2", b"anna", work.encode(), b"700", b"14"]
    backlog = BacklogReader(redis, house.service_times).read("q")
    assert (len(backlog), backlog.seconds) == (2, 2 * MASKS * 0.02)
    assert now.priority == "interactive"


def test_what_was_asked_for_interactively_while_it_waited_as_batch_comes_back_interactively(redis: Redis) -> None:
    house = House(redis)
    record = house.accept("one", priority="batch")
    house.enqueue(record.model_copy(update={"priority": "interactive"}))
    house.lose_jobs()
    house.requeuer.run()
    assert house.tags("one")[0] == b"1"
    stored = house.store.read("one")
    assert stored is not None
    assert stored.priority == "interactive"


def test_a_job_that_is_moved_writes_nothing_of_an_explanation_that_is_gone(redis: Redis) -> None:
    house = House(redis)
    record = house.accept("one", priority="batch")
    redis.delete("rise:explanation:one")
    house.enqueue(record.model_copy(update={"priority": "interactive"}))
    assert not redis.exists("rise:explanation:one")


def test_what_was_asked_for_again_while_its_worker_ended_it_waits_as_it_was_accepted(redis: Redis) -> None:
    house = House(redis)
    house.accept("one", priority="batch")
    before = house.tags("one")
    house.lose_jobs()
    _enqueue_if_waiting(house.store, house.jobs, house.service_times, "q", "one")
    assert house.tags("one") == before


def test_a_record_of_an_earlier_version_is_interactive(redis: Redis) -> None:
    house = House(redis)
    house.accept("one")
    redis.hdel("rise:explanation:one", "priority")
    record = house.store.read("one")
    assert record is not None
    assert record.priority == "interactive"


def test_what_waits_for_a_model_that_is_gone_fails_after_a_deadline_and_is_not_renewed_any_more(redis: Redis) -> None:
    house = House(redis)
    house.accept("queued")
    house.accept("orphan")
    house.accept("running")
    redis.lrem("rq:queue:q", 0, "orphan")
    redis.delete("rq:job:orphan")
    house.store.start("running", "a worker that is gone, too")
    house.served = False
    house.requeuer.run()
    assert {house.status(name) for name in ("queued", "orphan")} == {Status.QUEUED}
    redis.zadd("rise:served", {"m": time.time() - 2 * TTL})
    house.age(2 * TTL)
    house.requeuer.run()
    for name in ("queued", "orphan", "running"):
        record = house.store.read(name)
        assert record is not None
        assert record.error == Failure(code="no-worker", detail="no worker serves model 'm' any more")
    assert house.waiting() == []
    assert redis.keys("rq:job:*") == []


def test_what_waits_for_longer_than_the_deadline_is_kept_while_its_model_is_served(redis: Redis) -> None:
    house = House(redis)
    house.accept("one")
    house.age(2 * TTL)
    house.requeuer.run()
    assert house.waiting() == ["one"]
    house.served = False  # as in a restart of the only worker
    house.requeuer.run()
    assert house.status("one") is Status.QUEUED
    assert house.waiting() == ["one"]


def test_what_waits_is_renewed_when_half_of_its_time_has_passed(redis: Redis) -> None:
    house = House(redis)
    for name in ("aged", "orphan"):
        house.accept(name)
        redis.hset(f"rise:explanation:{name}", "expires_at", json.dumps(in_seconds(KEEP / 3).isoformat()))
        redis.expire(f"rise:explanation:{name}", KEEP // 3)
    redis.delete("rq:job:orphan")
    house.served = False
    house.requeuer.run()
    for name in ("aged", "orphan"):
        assert int(redis.ttl(f"rise:explanation:{name}")) > KEEP / 2


def test_an_explanation_that_cannot_be_read_keeps_no_other_from_being_requeued(redis: Redis) -> None:
    house = House(redis)
    for name in ("a", "b", "c"):
        house.accept(name)
    house.lose_jobs()
    redis.hset("rise:explanation:b", "request", '"elsewhere"')
    house.requeuer.run()
    assert house.waiting() == ["a", "c"]
