"""Promises in Redis: leased to one at a time, looked at again when they should be, and forgotten when they are kept."""

from redis import Redis

from app.contract.promises import Promise, Promises


def promised(redis: Redis, *names: str, seconds: float = 0) -> Promises:
    promises = Promises(redis, "test")
    for name in names:
        promises.make(Promise(id=name, content={"name": name}), seconds=seconds)
    return promises


def test_what_is_due_is_leased_to_one_at_a_time(redis: Redis) -> None:
    promises = promised(redis, "a", "b")
    assert {promise.content["name"] for promise in promises.lease(5, seconds=60)} == {"a", "b"}
    assert Promises(redis, "test").lease(5, seconds=60) == []


def test_what_somebody_died_over_is_taken_by_another(redis: Redis) -> None:
    promises = promised(redis, "a")
    assert [len(promises.lease(5, seconds=0)) for _ in range(3)] == [1, 1, 1]


def test_what_is_not_due_yet_is_not_taken(redis: Redis) -> None:
    promises = promised(redis, "a", seconds=60)
    assert promises.lease(5, seconds=60) == []
    assert promises.owed() == 1


def test_what_is_put_off_comes_back_as_it_was_written(redis: Redis) -> None:
    promises = promised(redis, "a")
    (promise,) = promises.lease(1, seconds=60)
    assert promises.put_off(promise.model_copy(update={"content": {"step": 2}}), seconds=0)
    (again,) = promises.lease(1, seconds=60)
    assert again.content == {"step": 2}
    assert again.made_at == promise.made_at


def test_what_is_settled_meanwhile_is_not_owed_again_by_whoever_had_it(redis: Redis) -> None:
    promises = promised(redis, "a")
    (promise,) = promises.lease(1, seconds=60)
    assert promises.settle("a")
    assert not promises.put_off(promise, seconds=0)
    assert not promises.settle("a")
    assert promises.owed() == 0


def test_the_same_thing_promised_twice_is_owed_once(redis: Redis) -> None:
    promises = promised(redis, "a", "a")
    assert promises.owed() == 1
    assert len(promises.lease(5, seconds=60)) == 1


def test_promises_of_other_kinds_are_left_to_others(redis: Redis) -> None:
    promised(redis, "a")
    assert Promises(redis, "other").lease(5, seconds=60) == []
