import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from redis import Redis

from app.admission.backlog import Backlog, BacklogReader
from app.admission.controller import AdmissionController
from app.admission.limits import ConcurrencyQuota, TokenBucket
from app.auth.api_keys import Limits
from app.auth.principal import ANONYMOUS, Principal
from app.contract.errors import RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import JobQueue
from app.contract.queue.throughput import ServiceTimes, ThroughputStats, workload_class
from app.contract.redis.keys import record_key
from app.contract.schemas import CanonicalRequest, Failure, ModelRef, Progress
from app.contract.settings import Settings
from tests.contract.test_store import a_record, publish

WORK = "m/rise/all"


def a_request(until: float = 1.0, masks: int = 1000) -> CanonicalRequest:
    model = ModelRef(id="m", digest="d")
    return CanonicalRequest(model=model, method="rise", targets=None, parameters={"until": until, "masks": masks})


def an_admission(redis: Redis, **settings: object) -> AdmissionController:
    return AdmissionController(
        Settings(**settings),  # type: ignore[arg-type]
        BacklogReader(redis, ThroughputStats(redis)),
        ConcurrencyQuota(redis),
    )


def measure(redis: Redis, request: CanonicalRequest, *, masks: int, seconds: float) -> None:
    """Let an explanation come to its end that took so long."""
    store, record = (
        ExplanationStore(redis, keep_seconds=600),
        a_record("measured").model_copy(update={"request": request}),
    )
    store.create(record)
    store.start("measured", "a")
    assert publish(store, "a", record=record, progress=Progress(masks=masks, total=masks), seconds=seconds)
    redis.delete(record_key("measured"))


async def let_in(
    admission: AdmissionController, workers: int, caller: Principal, name: str, made: Callable[[], object]
) -> None:
    async with admission.admit(name, caller, queue="q", workers=workers):
        made()


def enters(
    admission: AdmissionController, workers: int, caller: Principal, name: str, made: Callable[[], object] = int
) -> None:
    """Let an explanation in, which is made inside."""
    asyncio.run(let_in(admission, workers, caller, name, made))


def enqueued_eta(
    admission: AdmissionController, name: str, made: Callable[[], object] = int, *, position: int, seconds: float
) -> float | None:
    """Return the estimate for an explanation that is let in and enqueued."""

    async def enter() -> float | None:
        async with admission.admit(name, ANONYMOUS, queue="q", workers=1) as slot:
            made()
        return slot.enqueued(position, seconds=seconds)

    return asyncio.run(enter())


def enqueue(redis: Redis, *names: str, masks: int = 1000) -> None:
    jobs = JobQueue(redis, timeout_seconds=60)
    for name in names:
        jobs.enqueue_explanation("q", name, again=False, tags=SchedulingTags("t", work=WORK, masks=masks))


def test_a_minute_s_requests_may_come_at_once_and_no_more(redis: Redis) -> None:
    rates = TokenBucket(redis)
    taken = [rates.take("k", 6) for _ in range(8)]
    assert [one.allowed for one in taken] == [True] * 6 + [False] * 2
    assert [one.remaining for one in taken] == [5, 4, 3, 2, 1, 0, 0, 0]
    assert 0 < taken[-1].seconds <= 10
    assert rates.take("other", 6).allowed


def test_who_waits_as_long_as_was_said_is_let_in_and_not_before(redis: Redis) -> None:
    rates = TokenBucket(redis)
    while (refused := rates.take("k", 60)).allowed:
        pass
    assert 0 < refused.seconds <= 1
    time.sleep(refused.seconds)
    assert rates.take("k", 60).allowed
    assert not rates.take("k", 60).allowed


def test_of_many_requests_at_once_no_more_than_the_limit_get_a_place(redis: Redis) -> None:
    pending = ConcurrencyQuota(redis)
    with ThreadPoolExecutor(16) as threads:
        places = list(threads.map(lambda number: pending.reserve("k", f"e{number}", 5), range(40)))
    assert sum(places) == 5


def test_an_explanation_takes_one_place_however_often_it_is_asked_for_until_it_has_ended(redis: Redis) -> None:
    store, pending = ExplanationStore(redis, keep_seconds=600), ConcurrencyQuota(redis)
    assert all(pending.reserve("k", "one", 1) for _ in range(3))
    store.create(a_record("one"))
    assert not pending.reserve("k", "two", 1)
    store.start("one", "a")
    assert not pending.reserve("k", "two", 1)
    store.fail("one", Failure(code="x", detail="y"))
    assert pending.reserve("k", "two", 1)


def test_a_deleted_explanation_gives_its_place_back_at_once(redis: Redis) -> None:
    store, pending = ExplanationStore(redis, keep_seconds=600), ConcurrencyQuota(redis)
    assert pending.reserve("k", "one", 1)
    store.create(a_record("one"))
    pending.keep("k", "one")
    redis.delete(record_key("one"))
    assert pending.reserve("k", "two", 1)


def test_a_place_that_was_not_used_is_free_again(redis: Redis) -> None:
    admission, caller = an_admission(redis), Principal("t", frozenset(), "k", Limits(max_pending=1))
    with pytest.raises(ValueError, match="broken image"):
        enters(admission, 1, caller, "one", partial(int, "broken image"))
    enters(admission, 1, caller, "two", lambda: ExplanationStore(redis, keep_seconds=600).create(a_record("two")))
    with pytest.raises(RiseError, match="1 explanations") as refused:
        enters(admission, 1, caller, "three")
    assert refused.value.code == "too-many-requests"
    assert (refused.value.retry_after_seconds or 0) >= 1


def test_a_queue_is_bounded_by_how_many_wait(redis: Redis) -> None:
    measure(redis, a_request(), masks=1000, seconds=10)
    enqueue(redis, "a", "b")
    admission = an_admission(redis, max_queued=3)
    assert (
        enqueued_eta(admission, "c", partial(enqueue, redis, "c"), position=2, seconds=10) is None
    )  # the last that fits
    with pytest.raises(RiseError) as refused:
        enters(admission, 2, ANONYMOUS, "d")
    assert refused.value.code == "busy"
    assert refused.value.retry_after_seconds == pytest.approx(10 * 3 / 5 / 2)  # a place is free when the next one ends


def test_a_queue_is_bounded_by_the_work_that_waits_for_each_worker(redis: Redis) -> None:
    measure(redis, a_request(), masks=1000, seconds=10)
    enqueue(redis, "a", "b", masks=4000)
    admission = an_admission(redis, max_queued_seconds=50)
    enters(admission, 2, ANONYMOUS, "c")
    with pytest.raises(RiseError, match="80 seconds") as refused:
        enters(admission, 1, ANONYMOUS, "c")
    assert refused.value.retry_after_seconds == pytest.approx(30)


def test_what_has_just_joined_is_known_without_reading_the_queue_again(redis: Redis) -> None:
    measure(redis, a_request(), masks=1000, seconds=10)
    enqueue(redis, "a", "b")
    admission = an_admission(redis)
    assert enqueued_eta(admission, "c", position=1, seconds=4) == pytest.approx(14)
    assert admission.add("d", queue="q", seconds=1, position=3) == pytest.approx(25)
    assert admission.add("c", queue="never read", seconds=4, position=1) is None


def test_the_end_is_estimated_from_what_runs_and_what_stands_before(redis: Redis) -> None:
    measure(redis, a_request(), masks=1000, seconds=10)
    enqueue(redis, "running", "first", "second")
    redis.lrem("rq:queue:q", 1, "running")
    redis.zadd("rq:wip:q", {"running:execution": time.time() + 60, "lost:execution": time.time() - 60})
    backlogs = BacklogReader(redis, ThroughputStats(redis))
    assert backlogs.read("q").seconds_until_end("second") == pytest.approx(30)
    store = ExplanationStore(redis, keep_seconds=600)
    store.create(a_record("running"))
    store.start("running", "x")
    store.advance("running", "x", progress=Progress(masks=900, total=1000, eta_seconds=1.0))
    backlog = backlogs.read("q")
    assert backlog.seconds_until_end("first") == pytest.approx(11)
    assert backlog.seconds_until_end("second") == pytest.approx(21)
    assert backlog.seconds_until_end("running") is None
    assert len(backlog) == 2


@pytest.mark.parametrize(
    ("until", "eta", "left"),
    [(0.95, None, 5), (0.95, 90.0, 5), (0.95, 2.0, 2), (1.0, None, 5), (1.0, 90.0, 90)],
)
def test_what_is_left_of_a_running_explanation_shrinks_with_its_masks_and_it_knows_best_where_it_uses_all(
    redis: Redis, until: float, eta: float | None, left: float
) -> None:
    request = a_request().model_copy(update={"parameters": {**a_request().parameters, "until": until}})
    measure(redis, request, masks=1000, seconds=10)
    tags = SchedulingTags("public", seconds=10, work=workload_class(request), masks=1000)
    JobQueue(redis, timeout_seconds=60).enqueue_explanation("q", "one", again=False, tags=tags)
    redis.lrem("rq:queue:q", 1, "one")
    redis.zadd("rq:wip:q", {"one:execution": time.time() + 60})
    store = ExplanationStore(redis, keep_seconds=600)
    store.create(a_record("one"))
    store.start("one", "x")
    store.advance("one", "x", progress=Progress(masks=500, total=1000, eta_seconds=eta))
    assert BacklogReader(redis, ThroughputStats(redis)).read("q").seconds == pytest.approx(left)


def test_to_mask_the_image_itself_is_work_of_its_own_kind() -> None:
    request = a_request()
    on_image = request.model_copy(update={"parameters": {**request.parameters, "canvas": "image"}})
    assert workload_class(on_image) != workload_class(request)


def test_whoever_joins_is_counted_where_it_stands_and_once() -> None:
    backlog = Backlog({"a": 1.0, "b": 2.0}, 10.0, ServiceTimes({}))
    for name, seconds, position in (("end", 4.0, 2), ("front", 8.0, 0), ("end", 4.0, 3)):
        backlog.add(name, seconds, position)
    found = {name: backlog.seconds_until_end(name) for name in ("front", "a", "b", "end", "nobody")}
    assert found == {"front": 18, "a": 19, "b": 21, "end": 25, "nobody": None}
    assert (len(backlog), backlog.seconds) == (4, 25)


def test_the_pace_follows_what_is_measured_and_knows_that_explanations_may_stop_early(redis: Redis) -> None:
    pace = ThroughputStats(redis)
    assert pace.seconds_per_mask().of(WORK) > 0
    for _ in range(60):
        measure(redis, a_request(), masks=4000, seconds=4)
        measure(redis, a_request(until=0.95), masks=4000, seconds=1)
    found = pace.seconds_per_mask()
    assert found.of(WORK) == pytest.approx(0.001)
    assert found.of("m/rise/early") == pytest.approx(0.00025)
    assert min(0.00025, 0.001) < found.of("other/rise/all") < 0.001
    measure(redis, a_request(masks=1), masks=128, seconds=1)  # mostly not masks
    assert found.of(WORK) <= pace.seconds_per_mask().of(WORK) < 0.0015
    for _ in range(60):
        measure(redis, a_request(), masks=4000, seconds=40)
    assert pace.seconds_per_mask().of(WORK) == pytest.approx(0.01, rel=0.05)
    assert math.isfinite(pace.seconds_per_mask().of("never"))
