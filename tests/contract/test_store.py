from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from app.contract.counters import PersistentCounters
from app.contract.explanations.reuse_index import BlockReuseIndex
from app.contract.explanations.store import REMEMBERED_SECONDS, ExplanationStore
from app.contract.queue.throughput import ThroughputStats, workload_class
from app.contract.redis.keys import events_key, record_key, tombstone_key
from app.contract.schemas import (
    CanonicalRequest,
    CanvasInfo,
    Checkpoint,
    ExplanationRecord,
    Failure,
    ImageInfo,
    ModelRef,
    Progress,
    Provenance,
    State,
    Status,
)

PROGRESS = Progress(masks=128, total=1024)
STATE = State(
    kind="effects",
    canvas=CanvasInfo(height=8, width=8, grid=(2, 2), view=(0, 0, 8, 8)),
    seed=0,
    rows=[0],
    target_rows=[0],
    fills=["black"],
)


def a_record(explanation_id: str = "one") -> ExplanationRecord:
    now = datetime.now(UTC)
    return ExplanationRecord(
        id=explanation_id,
        request=CanonicalRequest(
            model=ModelRef(id="m", digest="d"), method="rise", targets=None, parameters={"seed": 0}
        ),
        image=ImageInfo(width=8, height=8, sha256="0", media_type="image/png"),
        status=Status.QUEUED,
        created_at=now,
        expires_at=now + timedelta(hours=1),
    )


def a_store(redis: Redis) -> ExplanationStore:
    return ExplanationStore(redis, keep_seconds=600)


def publish(
    store: ExplanationStore, execution: str, *, record: ExplanationRecord | None = None, **options: Any
) -> bool:
    provenance = Provenance(
        version="0", device="cpu", precision="float32", seed=0, masks_used=128, blocks=1, stopped="all-masks"
    )
    said: dict[str, Any] = {"progress": PROGRESS, "targets": [], "state": STATE, "provenance": provenance} | options
    return store.succeed(record or a_record(), execution, **said)


class DyingRedis(Redis):
    """A client whose process dies as soon as the server has carried out a script."""

    def evalsha(self, *arguments: Any, **options: Any) -> Any:
        super().evalsha(*arguments, **options)
        raise SystemExit


def counted(redis: Redis) -> dict[str, float]:
    """Return what was counted, without the buckets of durations."""
    found = PersistentCounters(redis).read()
    return {"|".join((one.metric, *one.labels)): one.value for one in found if not one.metric.endswith("_bucket")}


def test_a_record_comes_back_as_it_was_stored(redis: Redis) -> None:
    store, record = a_store(redis), a_record()
    assert store.create(record)
    assert store.read("one") == record
    assert store.read("two") is None


def test_the_same_explanation_is_created_once_while_it_is_alive(redis: Redis) -> None:
    store = a_store(redis)
    assert [store.create(a_record()) for _ in range(3)] == [True, False, False]
    store.start("one", "a")
    assert not store.create(a_record())
    publish(store, "a")
    assert not store.create(a_record())


def test_a_failed_or_cancelled_explanation_can_be_asked_for_again_and_starts_afresh(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    store.fail("one", Failure(code="model-failed", detail="no"))
    assert store.create(a_record())
    found = store.read("one")
    assert found is not None
    assert found.status is Status.QUEUED
    assert found.error is None


def test_only_the_latest_execution_may_write(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    assert store.start("one", "late") is not None
    assert store.start("one", "new") is not None
    assert not store.advance("one", "late", progress=PROGRESS, state=STATE)
    assert not publish(store, "late")
    assert not store.fail("one", Failure(code="model-failed", detail="late"), execution="late")
    assert store.advance("one", "new", progress=PROGRESS, state=STATE)
    assert publish(store, "new")


def test_a_cancelled_explanation_refuses_what_its_worker_still_writes(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    store.start("one", "a")
    assert store.cancel("one")
    assert not store.advance("one", "a", progress=PROGRESS)
    assert not publish(store, "a")
    assert store.start("one", "b") is None
    found = store.read("one")
    assert found is not None
    assert found.status is Status.CANCELLED


def test_what_has_ended_stays_ended(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    store.start("one", "a")
    publish(store, "a")
    assert not store.cancel("one")
    assert not store.fail("one", Failure(code="x", detail="y"))
    found = store.read("one")
    assert found is not None
    assert found.status is Status.SUCCEEDED


def test_everything_expires_and_for_a_while_it_is_known_that_it_was_there(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    store.start("one", "a")
    keys: Any = redis.keys("rise:*")
    lives = {key.decode(): int(redis.ttl(key)) for key in keys}
    assert 0 < lives[record_key("one")] <= 600
    assert 0 < lives[events_key("one")] <= 600
    assert all(0 < seconds <= 600 + REMEMBERED_SECONDS for seconds in lives.values())
    assert lives[tombstone_key("one")] > 600


def test_nothing_comes_into_being_by_changing_what_is_not_there(redis: Redis) -> None:
    store = a_store(redis)
    assert store.start("nobody", "a") is None
    assert not store.cancel("nobody")
    assert not redis.exists(record_key("nobody"))


def test_an_explanation_that_is_taken_over_has_started_once(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record("one"))
    first, second = store.start("one", "a"), store.start("one", "b")
    assert first is not None
    assert second is not None
    assert first.started_at is not None
    assert second.started_at == first.started_at
    store.cancel("one")
    store.create(a_record("one"))
    assert (again := store.read("one")) is not None
    assert again.started_at is None


def test_what_is_renewed_lives_as_if_it_had_changed_and_nothing_else_does(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record("one"))
    keys = ["rise:explanation:one", "rise:events:one"]
    for key in keys:
        redis.expire(key, 5)
    store.renew(["one", "gone"])
    assert all(int(redis.ttl(key)) > 5 for key in keys)
    assert (record := store.read("one")) is not None
    assert abs((record.expires_at - store.expiry()).total_seconds()) < 5
    assert redis.exists("rise:explanation:gone") == redis.exists("rise:tombstone:gone") == 0


def test_a_worker_that_dies_right_after_the_end_loses_nothing_of_what_is_kept_of_it(valkey: str, redis: Redis) -> None:
    store, record = a_store(redis), a_record()
    store.create(record)
    store.start("one", "a")
    state = STATE.model_copy(update={"checkpoints": [Checkpoint(blob="b", first=0, count=8)]})
    with DyingRedis.from_url(valkey) as dying, pytest.raises(SystemExit):
        publish(a_store(dying), "a", state=state, seconds=2.5)
    found = counted(redis)
    assert found["explanations|succeeded|m|rise"] == 1
    assert found["masks|m|rise"] == PROGRESS.masks
    assert 0 <= found["queued_seconds_sum|m"] < 60
    assert 0 <= found["running_seconds_sum|m|rise"] < 60
    assert BlockReuseIndex(redis).find(record) == "one"
    assert ThroughputStats(redis).seconds_per_mask().of(workload_class(record.request)) == 2.5 / PROGRESS.total


def test_durations_are_counted_in_cumulative_buckets(redis: Redis) -> None:
    store = a_store(redis)
    record = a_record().model_copy(update={"created_at": datetime.now(UTC) - timedelta(seconds=20)})
    store.create(record)
    store.start("one", "a")
    publish(store, "a")
    found = {"|".join((one.metric, *one.labels)): one.value for one in PersistentCounters(redis).read()}
    bounds = [
        bound for bound in ("0.1", "10.0", "30.0", "3000.0", "+Inf") if f"queued_seconds_bucket|m|{bound}" in found
    ]
    assert bounds == ["30.0", "3000.0", "+Inf"]
    assert found["queued_seconds_sum|m"] == pytest.approx(20, abs=5)
    assert found["running_seconds_bucket|m|rise|10.0"] == 1


def test_an_end_is_counted_once_and_one_that_is_refused_not_at_all(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    store.start("one", "late")
    store.start("one", "new")
    assert not publish(store, "late", seconds=1)
    assert counted(redis) == {}
    assert ThroughputStats(redis).seconds_per_mask().of("x") == ThroughputStats(redis).seconds_per_mask().of("y")
    assert store.cancel("one")
    assert not store.cancel("one")
    assert counted(redis)["explanations|cancelled|m|rise"] == 1
    assert BlockReuseIndex(redis).find(a_record()) is None
    store.create(a_record("waiting"))
    store.fail("waiting", Failure(code="model-failed", detail="no"))
    assert counted(redis)["explanations|failed|m|rise"] == 1


def test_what_cannot_be_read_any_more_can_still_be_ended(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    redis.hset(record_key("one"), "request", '{"model": {"id": "m"}, "method": "rise"}')
    assert store.fail("one", Failure(code="internal", detail="no"))
    assert redis.hget(record_key("one"), "status") == b'"failed"'
