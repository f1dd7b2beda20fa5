"""The leased queue: every item is had by one at a time and by somebody in the end, on a real Valkey."""

import threading
import time
from typing import Any

import pytest
from redis import Redis

from app.batches.store import BatchItem, BatchStore
from app.contract.explanations.webhook_subscriptions import WebhookSubscriptions
from app.contract.redis.leased_queue import LeasedQueue
from app.integrations.label_studio.delayed_tasks import DelayedTask, DelayedTasks
from app.webhooks.outbox import Outbox
from tests.app.batches.test_batches import a_batch
from tests.contract.test_store import a_record, a_store


def plain(redis: Redis) -> LeasedQueue:
    return LeasedQueue(redis, "items")


def with_content(redis: Redis) -> LeasedQueue:
    return LeasedQueue(redis, "items", content=lambda item: ("contents", item), keep_seconds=600)


@pytest.fixture(params=[plain, with_content])
def queue(request: pytest.FixtureRequest, redis: Redis) -> LeasedQueue:
    found: LeasedQueue = request.param(redis)
    return found


def test_items_come_in_the_order_in_which_they_are_due(queue: LeasedQueue) -> None:
    for item, seconds in (("c", 0), ("b", -1), ("a", -2), ("later", 60)):
        queue.put(item, "x", seconds=seconds)
    assert [lease.id for lease in queue.lease(2, seconds=60)] == ["a", "b"]
    assert [lease.id for lease in queue.lease(2, seconds=60)] == ["c"]
    assert len(queue) == 4


def test_an_item_is_due_again_when_its_lease_has_run_out(queue: LeasedQueue) -> None:
    queue.put("a", "x")
    assert queue.lease(1, seconds=0.2)
    assert queue.lease(1, seconds=60) == []
    time.sleep(0.25)
    assert [lease.id for lease in queue.lease(1, seconds=60)] == ["a"]


def test_a_lease_that_is_over_changes_nothing(queue: LeasedQueue) -> None:
    queue.put("a", "x")
    (late,) = queue.lease(1, seconds=0)
    (lease,) = queue.lease(1, seconds=60)
    assert not queue.ack(late)
    assert not queue.nack(late, "late", seconds=0)
    assert not queue.update(late, "late")
    assert queue.lease(1, seconds=0) == []
    assert queue.nack(lease, seconds=0)
    (again,) = queue.lease(1, seconds=60)
    assert again.content == lease.content
    assert queue.ack(again)
    assert not queue.ack(again)
    assert len(queue) == 0


def test_what_is_removed_or_put_anew_is_not_the_one_that_was_leased(queue: LeasedQueue) -> None:
    queue.put("a", "x")
    (lease,) = queue.lease(1, seconds=60)
    queue.put("a", "y")
    assert not queue.ack(lease)
    (lease,) = queue.lease(1, seconds=60)
    queue.remove("a")
    assert not queue.nack(lease, seconds=0)
    assert len(queue) == 0


def test_content_is_kept_replaced_and_removed_with_its_item(redis: Redis) -> None:
    queue = with_content(redis)
    queue.put("a", "one")
    (lease,) = queue.lease(1, seconds=60)
    assert lease.content == b"one"
    assert queue.update(lease, "two")
    assert queue.nack(lease, seconds=0)
    (lease,) = queue.lease(1, seconds=60)
    assert lease.content == b"two"
    assert 0 < int(redis.ttl("items")) <= 600
    assert 0 < int(redis.ttl("contents")) <= 600
    assert queue.ack(lease)
    assert redis.keys("*") == []


def test_content_can_outlive_its_item(redis: Redis) -> None:
    queue = with_content(redis)
    queue.put("a", "one")
    (lease,) = queue.lease(1, seconds=60)
    assert queue.ack(lease, "done")
    assert redis.hgetall("contents") == {b"a": b"done"}
    assert len(queue) == 0


def test_an_item_whose_content_is_gone_leaves_the_queue_and_brings_none_back(redis: Redis) -> None:
    queue = with_content(redis)
    queue.put("a", "one")
    queue.put("b", "two")
    (lease,) = queue.lease(1, seconds=60)
    redis.delete("contents")
    assert not queue.ack(lease, "done")
    assert queue.lease(5, seconds=60) == []
    assert redis.keys("*") == []


def test_items_are_put_and_removed_within_a_transaction(redis: Redis, queue: LeasedQueue) -> None:
    redis.script_flush()
    with redis.pipeline() as pipeline:
        queue.put("a", "x", pipeline=pipeline)
        queue.put("b", "x", pipeline=pipeline)
        queue.remove("a", pipeline=pipeline)
        assert len(queue) == 0
        pipeline.execute()
    assert [lease.id for lease in queue.lease(5, seconds=60)] == ["b"]


def test_many_at_once_never_have_the_same_item_and_leave_none(queue: LeasedQueue) -> None:
    for number in range(200):
        queue.put(f"{number}", "x")
    done: list[str] = []

    def work() -> None:
        while leases := queue.lease(3, seconds=60):
            done.extend(lease.id for lease in leases if queue.ack(lease))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done, key=int) == [f"{number}" for number in range(200)]
    assert len(queue) == 0


# As in the first version with an outbox, which may run beside this one during an upgrade.
OLDER_LEASE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local leased = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local explanation, id = string.match(member, '^(.-)/(.+)$')
  local text = redis.call('HGET', ARGV[3] .. explanation, id)
  if text then
    local delivery = cjson.decode(text)
    delivery.attempts = delivery.attempts + 1
    table.insert(leased, cjson.encode(delivery))
    redis.call('HSET', ARGV[3] .. explanation, id, cjson.encode(delivery))
    redis.call('ZADD', KEYS[1], now + ARGV[2], member)
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
return leased
"""
OLDER_SETTLE = """
local text = redis.call('HGET', KEYS[2], ARGV[2])
if not text or cjson.decode(text).attempts ~= tonumber(ARGV[3]) then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
"""


def lease_as_older(redis: Redis, *, seconds: float) -> Any:
    return redis.eval(OLDER_LEASE, 1, "rise:outbox", "9", str(seconds), "rise:callbacks:")


def test_deliveries_pass_between_two_versions_and_are_had_by_one_at_a_time(redis: Redis) -> None:
    store, callbacks, outbox = a_store(redis), WebhookSubscriptions(redis, keep_seconds=600), Outbox(redis)
    store.create(a_record())
    callbacks.register("one", "https://receiver.test/a")
    store.cancel("one")
    assert len(lease_as_older(redis, seconds=0)) == 1
    (attempt,) = outbox.lease(9, seconds=60)
    assert attempt.delivery.attempts == 2
    assert lease_as_older(redis, seconds=60) == []
    item = f"one/{attempt.delivery.id}"
    assert redis.eval(OLDER_SETTLE, 2, "rise:outbox", "rise:callbacks:one", item, attempt.delivery.id, "1") == 0
    assert outbox.retry(attempt, "503", seconds=0)
    assert len(lease_as_older(redis, seconds=60)) == 1
    assert not outbox.delivered(attempt, "200 OK")
    assert [delivery.attempts for delivery in callbacks.of("one")] == [3]


def test_what_an_older_version_has_put_is_leased(redis: Redis) -> None:
    batch, _ = a_batch()
    BatchStore(redis, keep_seconds=600).create(batch, [BatchItem(index=0, name="0", kind="id", source="x")])
    redis.zadd("rise:batches", {batch.id: 0})
    assert [lease.id for lease in BatchStore(redis, keep_seconds=600).lease(5, seconds=60)] == [batch.id]
    task = DelayedTask(id="a", content={})
    redis.hset("rise:promises:test", "a", task.model_dump_json())
    redis.zadd("rise:promises:test:due", {"a": time.time() - 1})
    assert [leased.task for leased in DelayedTasks(redis, "test").lease(5, seconds=60)] == [task]
