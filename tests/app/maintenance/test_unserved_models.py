"""Nothing grows in Redis with every model and every key that ever was."""

import time

import httpx2
from redis import Redis

from app.admission.limits import ConcurrencyQuota
from app.contract.counters import PersistentCounters
from app.contract.queue.throughput import ThroughputStats
from app.contract.redis.keys import COUNTERS, THROUGHPUT
from app.maintenance.last_served import ServedModels
from app.maintenance.unserved_models import ModelHistory
from tests.app.batches.test_batches import pictures, send, wait_for
from tests.app.batches.test_zip_reader import packed
from tests.conftest import Service
from tests.contract.test_store import a_record, a_store, publish
from tests.support.api_requests import explain

DAY = 86_400.0
UNBOUNDED = {"rise:served", COUNTERS, THROUGHPUT, "rise:workers", "rise:keys", "rise:batches", "rise:outbox"}


def explained(redis: Redis, model: str) -> None:
    """Have an explanation with a model end, and everything counted that can be."""
    store, record = a_store(redis), a_record()
    request = record.request.model_copy(update={"model": record.request.model.model_copy(update={"id": model})})
    store.create(record.model_copy(update={"request": request}))
    store.start(record.id, "a")
    assert publish(store, "a")
    counters = PersistentCounters(redis)
    counters.count_memory_retry(model)
    counters.count_lost_attempt(model, "stalled")
    redis.delete(f"rise:explanation:{record.id}")


def history_of(redis: Redis) -> ModelHistory:
    return ModelHistory(ServedModels(redis, ttl_seconds=DAY), PersistentCounters(redis), ThroughputStats(redis))


def test_what_is_kept_of_a_model_goes_when_it_was_not_served_for_a_month(redis: Redis) -> None:
    served, history, now = ServedModels(redis, ttl_seconds=DAY), history_of(redis), time.time()
    for model in ("goes", "stays", "goes-not"):
        explained(redis, model)
    redis.hset(THROUGHPUT, mapping={"goes/rise/all seconds": 1, "goes/rise/all masks": 9, "stays/rise/early masks": 9})
    history.remove_old(now=now)
    assert PersistentCounters(redis).models() == {"goes", "stays", "goes-not"}
    redis.zadd("rise:served", {"stays": now + 20 * DAY, "goes-not": now + 20 * DAY})
    history.remove_old(now=now + 31 * DAY)
    assert PersistentCounters(redis).models() == ThroughputStats(redis).models() | {"goes-not"} == {"stays", "goes-not"}
    assert served.last_served_before(now + 99 * DAY) == {"stays", "goes-not"}


def test_counters_of_a_model_that_stays_are_whole(redis: Redis) -> None:
    explained(redis, "stays")
    before = PersistentCounters(redis).read()
    explained(redis, "goes")
    now = time.time()
    redis.zadd("rise:served", {"stays": now, "goes": now - 31 * DAY})
    history_of(redis).remove_old(now=now)
    assert PersistentCounters(redis).read() == before


def test_places_of_a_key_that_is_not_used_any_more_are_forgotten(redis: Redis) -> None:
    quota = ConcurrencyQuota(redis)
    quota.reserve("key", "one", 1)
    assert 0 < int(redis.ttl("rise:pending:key")) <= 7 * DAY
    redis.delete("rise:pending:key")
    quota.keep("key", "one")
    assert 0 < int(redis.ttl("rise:pending:key")) <= 7 * DAY


def test_everything_in_redis_expires_but_for_a_few_keys(service: Service, http: httpx2.Client, star: bytes) -> None:
    explain(http, star, masks=256, until=1)
    http.post("/v1/images", files={"image": star})
    wait_for(http, send(http, packed(*pictures(2))), succeeded=2)
    with Redis.from_url((service.data / "redis.url").read_text()) as redis:
        lasting = {key.decode() for key in redis.scan_iter("rise:*") if redis.ttl(key) == -1}
    assert lasting <= UNBOUNDED
