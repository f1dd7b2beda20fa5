"""The order of a queue, on a real Valkey and with RQ's own worker."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from rq import SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from app.api.routes.evaluation import scheduling_tags_of_metrics
from app.auth.principal import Principal
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import EXPLAIN, PREDICT, JobQueue
from app.contract.queue.rq_compat import job_class, open_queue
from app.contract.schemas import MetricsRequest, Priority


def enqueue(redis: Redis, job_id: str, tenant: str, priority: Priority = "interactive", seconds: float = 1) -> None:
    tags = SchedulingTags(tenant=tenant, priority=priority, seconds=seconds, work="m", masks=100)
    JobQueue(redis, timeout_seconds=60).enqueue_explanation("q", job_id, again=False, tags=tags)


def waiting(redis: Redis) -> list[str]:
    return open_queue(redis, "q").get_job_ids()


def run(redis: Redis, *, most: int | None = None) -> list[str]:
    """Run jobs and return their ids in the order in which they came."""
    calls: list[Any] = []
    jobs = job_class({EXPLAIN: calls.append, PREDICT: calls.append})
    worker = SimpleWorker([open_queue(redis, "q", jobs)], connection=redis, job_class=jobs, serializer=JSONSerializer)
    worker.work(burst=True, max_jobs=most)
    return calls


def test_enqueueing_says_how_many_stand_before(redis: Redis) -> None:
    jobs = JobQueue(redis, timeout_seconds=60)
    for number, tenant in enumerate("aaabacbaab"):
        tags = SchedulingTags(
            tenant=tenant, priority="batch" if number % 4 == 3 else "interactive", work="m", masks=100
        )
        said = jobs.enqueue_explanation("q", f"{number}", again=False, tags=tags)
        assert said == jobs.position("q", f"{number}") == waiting(redis).index(f"{number}")
    assert jobs.enqueue_explanation("q", "0", again=False, tags=SchedulingTags("a")) is None  # it stays where it is


def test_one_tenant_alone_is_served_in_the_order_of_arrival(redis: Redis) -> None:
    for number in range(10):
        enqueue(redis, f"a{number}", "a")
    assert run(redis) == [f"a{number}" for number in range(10)]


def test_who_comes_with_one_waits_for_one_of_a_thousand(redis: Redis) -> None:
    for number in range(1000):
        enqueue(redis, f"a{number}", "a")
    assert run(redis, most=5) == [f"a{number}" for number in range(5)]
    enqueue(redis, "b", "b")
    assert waiting(redis).index("b") == 1


def test_tenants_take_turns_however_many_each_has(redis: Redis) -> None:
    for tenant, count in (("a", 50), ("b", 10), ("c", 3)):
        for number in range(count):
            enqueue(redis, f"{tenant}{number}", tenant)
    order = [job_id[0] for job_id in run(redis)]
    assert sorted(order[:9]) == list("aaabbbccc")
    assert sorted(order[:23]) == sorted("a" * 10 + "b" * 10 + "c" * 3)


def test_turns_are_counted_in_work_and_not_in_requests(redis: Redis) -> None:
    for number in range(20):
        enqueue(redis, f"large{number}", "a", seconds=10)
        enqueue(redis, f"small{number}", "b", seconds=1)
    order = run(redis)
    assert 1 <= sum("large" in job_id for job_id in order[: order.index("small9")]) <= 2


def test_interactive_goes_before_batch_of_whatever_tenant(redis: Redis) -> None:
    enqueue(redis, "batch-a", "a", "batch")
    enqueue(redis, "batch-b", "b", "batch")
    enqueue(redis, "now-b", "b")
    enqueue(redis, "now-a", "a")
    assert run(redis) == ["now-b", "now-a", "batch-a", "batch-b"]


def test_what_waits_as_batch_moves_up_when_it_is_asked_for_interactively_and_never_down(redis: Redis) -> None:
    for job_id, tenant in (("one", "a"), ("two", "a"), ("three", "b")):
        enqueue(redis, job_id, tenant, "batch")
    enqueue(redis, "two", "a")
    assert waiting(redis) == ["two", "one", "three"]
    for priority in ("batch", "interactive"):
        enqueue(redis, "two", "a", priority)
        assert waiting(redis) == ["two", "one", "three"]


def test_who_takes_work_back_is_not_made_to_wait_for_it(redis: Redis) -> None:
    for number in range(20):
        enqueue(redis, f"a{number}", "a")
    for number in range(20):
        enqueue(redis, f"b{number}", "b")
        JobQueue(redis, timeout_seconds=60).remove(f"b{number}")
    enqueue(redis, "b", "b")
    assert waiting(redis).index("b") == 1


def test_a_short_call_goes_before_everything_that_waits(redis: Redis) -> None:
    enqueue(redis, "a", "a")
    JobQueue(redis, timeout_seconds=60).ask("q", PREDICT, "call", seconds=30)
    enqueue(redis, "b", "b")
    assert run(redis) == ["call", "a", "b"]


def measure(redis: Redis, name: str, tenant: str) -> None:
    tags = scheduling_tags_of_metrics(Principal(tenant, frozenset()), MetricsRequest(steps=1000))
    JobQueue(redis, timeout_seconds=60).ask("q", PREDICT, name, seconds=30, tags=tags)


def test_an_explanation_waits_for_one_of_a_tenant_s_measurements_however_many_those_are(redis: Redis) -> None:
    for number in range(20):
        measure(redis, f"measure-a{number}", "a")
    enqueue(redis, "b", "b")
    enqueue(redis, "a", "a")
    assert set(run(redis, most=3)) == {"measure-a0", "a", "b"}


def test_a_measurement_waits_for_one_explanation_of_each_tenant_its_own_among_them(redis: Redis) -> None:
    for number in range(20):
        enqueue(redis, f"a{number}", "a")
        enqueue(redis, f"b{number}", "b")
    measure(redis, "measure-a", "a")
    assert set(run(redis, most=3)) == {"a0", "b0", "measure-a"}


def test_a_job_of_a_lost_worker_comes_back_to_the_front_and_the_order_behind_it_stays(redis: Redis) -> None:
    for number in range(3):
        enqueue(redis, f"a{number}", "a")
    jobs = job_class({EXPLAIN: print})
    queue = open_queue(redis, "q", jobs)
    taken = redis.lmove("rq:queue:q", "rq:queue:q:intermediate", "LEFT", "RIGHT")
    assert taken == b"a0"
    with redis.pipeline() as pipeline:
        job = Job.fetch("a0", connection=redis, serializer=JSONSerializer)
        job.retry(queue, pipeline)
        pipeline.execute()
    enqueue(redis, "b0", "b")
    assert waiting(redis)[0] == "a0"
    assert waiting(redis).index("b0") < waiting(redis).index("a2")


def test_a_worker_takes_only_jobs_that_are_there_while_many_put_in_and_nothing_is_lost(redis: Redis) -> None:
    done: list[str] = []
    expected = {f"{tenant}{number}" for tenant in "abcd" for number in range(30)}
    stop = threading.Event()

    def take() -> None:
        while not stop.is_set() or redis.llen("rq:queue:q"):
            taken: Any = redis.blmove("rq:queue:q", "taken", 1)
            if taken:
                done.append(taken.decode())

    taker = threading.Thread(target=take)
    taker.start()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: enqueue(redis, name, name[0]), [*expected, *expected]))
    stop.set()
    taker.join()
    assert sorted(done) == sorted(expected)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["interactive", "batch"]), st.integers(1, 9), st.booleans()),
        max_size=30,
    )
)
def test_whatever_comes_and_goes_nothing_is_lost_and_everybody_s_own_order_is_kept(
    redis: Redis, arrivals: list[tuple[str, Priority, int, bool]]
) -> None:
    redis.flushall()
    served: list[str] = []
    for number, (tenant, priority, seconds, take) in enumerate(arrivals):
        enqueue(redis, f"{tenant}-{priority}-{number:02}", tenant, priority, seconds)
        if take:
            served.append(redis.lpop("rq:queue:q").decode())  # type: ignore[union-attr]
    order = waiting(redis)
    assert len({*served, *order}) == len(served) + len(order) == len(arrivals)
    assert order == sorted(order, key=lambda name: name.split("-")[1] == "batch")  # the lanes stay whole
    for flow in {name.rsplit("-", 1)[0] for name in order}:
        own = [name for name in order if name.startswith(flow)]
        assert own == sorted(own)
