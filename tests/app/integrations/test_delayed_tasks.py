"""Delayed tasks in Redis: leased to one at a time, looked at again when they should be, removed when they are done."""

from redis import Redis

from app.integrations.label_studio.delayed_tasks import DelayedTask, DelayedTasks


def delayed(redis: Redis, *names: str, seconds: float = 0) -> DelayedTasks:
    tasks = DelayedTasks(redis, "test")
    for name in names:
        tasks.schedule(DelayedTask(id=name, content={"name": name}), seconds=seconds)
    return tasks


def test_what_is_due_is_leased_to_one_at_a_time(redis: Redis) -> None:
    tasks = delayed(redis, "a", "b")
    assert [leased.task.content["name"] for leased in tasks.lease(5, seconds=60)] == ["a", "b"]
    assert DelayedTasks(redis, "test").lease(5, seconds=60) == []


def test_what_somebody_died_over_is_taken_by_another(redis: Redis) -> None:
    tasks = delayed(redis, "a")
    assert [len(tasks.lease(5, seconds=0)) for _ in range(3)] == [1, 1, 1]


def test_what_is_not_due_yet_is_not_taken(redis: Redis) -> None:
    tasks = delayed(redis, "a", seconds=60)
    assert tasks.lease(5, seconds=60) == []
    assert len(tasks) == 1


def test_what_is_put_off_comes_back_as_it_was_written(redis: Redis) -> None:
    tasks = delayed(redis, "a")
    (leased,) = tasks.lease(1, seconds=60)
    assert tasks.reschedule(leased, leased.task.model_copy(update={"content": {"step": 2}}), seconds=0)
    (again,) = tasks.lease(1, seconds=60)
    assert again.task.content == {"step": 2}
    assert again.task.made_at == leased.task.made_at


def test_what_is_cancelled_meanwhile_does_not_come_back(redis: Redis) -> None:
    tasks = delayed(redis, "a")
    (leased,) = tasks.lease(1, seconds=60)
    tasks.cancel("a")
    assert not tasks.reschedule(leased, leased.task, seconds=0)
    assert not tasks.complete(leased)
    assert len(tasks) == 0
    assert redis.keys("rise:promises:*") == []


def test_a_task_of_the_same_id_takes_the_place_of_the_one_before_even_while_that_is_done(redis: Redis) -> None:
    tasks = delayed(redis, "a", "a")
    (leased,) = tasks.lease(5, seconds=60)
    tasks.schedule(DelayedTask(id="a", content={"name": "newer"}), seconds=0)
    assert not tasks.complete(leased)
    assert not tasks.reschedule(leased, leased.task, seconds=60)
    assert [again.task.content["name"] for again in tasks.lease(5, seconds=60)] == ["newer"]


def test_a_task_that_cannot_be_read_holds_up_no_other(redis: Redis) -> None:
    tasks = delayed(redis, "a", "b")
    redis.hset("rise:promises:test", "a", "{}")
    assert [leased.task.id for leased in tasks.lease(5, seconds=60)] == ["b"]
    assert len(tasks) == 2


def test_tasks_of_other_kinds_are_left_to_others(redis: Redis) -> None:
    delayed(redis, "a")
    assert DelayedTasks(redis, "other").lease(5, seconds=60) == []
