"""Shards: blocks of one explanation, handed out to whoever asks."""

import pytest
from redis import Redis

from app.contract.redis.keys import record_key
from workers.execution.shards import Shard, ShardQueue, ShardResult

NAME = "0f"
ROWS = [[1.0]]


@pytest.fixture
def shards(redis: Redis) -> ShardQueue:
    """The shards of an explanation that runs."""
    redis.hset(record_key(NAME), "status", '"running"')
    found = ShardQueue(redis)
    found.open(NAME, "leader", first=3, limit=10, plan_digest="star")
    return found


def delivered(first: int, size: int) -> ShardResult:
    return ShardResult(Shard(first, size), f"blob-{first}", ROWS * size, "worker")


def test_nobody_gets_a_block_that_somebody_has_taken(shards: ShardQueue) -> None:
    assert [shards.claim(NAME, 3), shards.claim(NAME, 2)] == [Shard(3, 3), Shard(6, 2)]


def test_assistants_get_blocks_up_to_the_limit_and_the_leader_further(shards: ShardQueue) -> None:
    assert shards.claim(NAME, 100) == Shard(3, 7)
    assert shards.claim(NAME, 100) == Shard(10, 0)
    assert shards.claim(NAME, 100, end=12) == Shard(10, 2)
    shards.results(NAME, "leader", limit=20)
    assert shards.claim(NAME, 100) == Shard(12, 8)


def test_what_was_delivered_is_not_handed_out_again(shards: ShardQueue) -> None:
    shards.submit(NAME, delivered(3, 2))
    shards.submit(NAME, delivered(5, 1))
    assert shards.claim(NAME, 1) == Shard(6, 1)
    assert sorted(shards.results(NAME, "leader", limit=10)) == [delivered(3, 2), delivered(5, 1)]


def test_a_new_leader_finds_what_was_delivered_to_the_last_one(shards: ShardQueue) -> None:
    shards.submit(NAME, delivered(4, 2))
    shards.open(NAME, "next", first=3, limit=10, plan_digest="star")
    assert shards.claim(NAME, 1) == Shard(3, 1)
    assert shards.claim(NAME, 1) == Shard(6, 1)
    assert shards.results(NAME, "next", limit=10) == [delivered(4, 2)]


def test_a_leader_that_was_replaced_neither_closes_nor_limits(shards: ShardQueue) -> None:
    shards.open(NAME, "next", first=3, limit=10, plan_digest="star")
    shards.results(NAME, "leader", limit=3)
    shards.close(NAME, "leader")
    assert shards.claim(NAME, 2) == Shard(3, 2)


@pytest.mark.parametrize("status", ["cancelled", "succeeded", "queued"])
def test_nothing_is_handed_out_of_an_explanation_that_does_not_run(
    shards: ShardQueue, redis: Redis, status: str
) -> None:
    redis.hset(record_key(NAME), "status", f'"{status}"')
    assert shards.claim(NAME, 1) is None


def test_nothing_is_handed_out_after_the_end(shards: ShardQueue) -> None:
    shards.close(NAME, "leader")
    assert shards.claim(NAME, 1) is None
    assert shards.plan_digest(NAME) is None


def test_shards_are_forgotten_by_themselves(shards: ShardQueue, redis: Redis) -> None:
    shards.submit(NAME, delivered(3, 1))
    assert all(0 < redis.ttl(key) <= 600 for key in redis.keys("rise:shards:*"))
