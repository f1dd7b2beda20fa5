"""Callbacks and their outbox, on a real Valkey."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from app.contract.audits import audit_id
from app.contract.errors import RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.explanations.webhook_subscriptions import WebhookDelivery, WebhookSubscriptions
from app.contract.redis.keys import webhooks_key
from app.contract.schemas import Failure
from app.contract.settings import WEBHOOK_GIVE_UP_SECONDS
from app.explanations.expiry_index import ExpiryIndex
from app.webhooks.outbox import Outbox
from app.webhooks.payload import payload_of_delivery
from tests.contract.test_store import a_record, a_store, publish

URL = "https://receiver.test/a"


def ask(redis: Redis, url: str = URL) -> None:
    WebhookSubscriptions(redis, keep_seconds=600).register("one", url)


def due(redis: Redis) -> list[WebhookDelivery]:
    return [attempt.delivery for attempt in Outbox(redis).lease(100, seconds=60)]


def succeed(store: ExplanationStore) -> None:
    store.start("one", "a")
    assert publish(store, "a")


def fail(store: ExplanationStore) -> None:
    store.start("one", "a")
    assert store.fail("one", Failure(code="model-failed", detail="it raised"), execution="a")


def lose(store: ExplanationStore) -> None:
    assert store.fail("one", Failure(code="worker-lost", detail="three workers were lost"))


def cancel(store: ExplanationStore) -> None:
    assert store.cancel("one")


ENDS = [(succeed, "succeeded", None), (fail, "failed", "model-failed"), (lose, "failed", "worker-lost")]
ENDS += [(cancel, "cancelled", None)]


@pytest.mark.parametrize(("end", "event", "code"), ENDS)
def test_whoever_ends_an_explanation_its_callback_is_due_in_the_same_step(
    redis: Redis, end: Callable[[ExplanationStore], None], event: str, code: str | None
) -> None:
    store = a_store(redis)
    store.create(a_record())
    ask(redis)
    assert due(redis) == []
    end(store)
    (delivery,) = due(redis)
    assert (delivery.explanation, delivery.url, delivery.event) == ("one", URL, event)
    assert (delivery.error.code if delivery.error else None) == code
    record = store.read("one")
    assert record is not None
    assert record.finished_at is not None
    assert delivery.ended_at is not None
    assert abs(delivery.ended_at - record.finished_at).total_seconds() < 1


@pytest.mark.parametrize(("end", "event", "code"), ENDS)
def test_a_callback_of_an_explanation_that_has_ended_is_due_at_once(
    redis: Redis, end: Callable[[ExplanationStore], None], event: str, code: str | None
) -> None:
    store = a_store(redis)
    store.create(a_record())
    end(store)
    ask(redis)
    (delivery,) = due(redis)
    assert delivery.event == event
    assert (delivery.error.code if delivery.error else None) == code


def test_every_callback_of_an_explanation_is_told_and_the_same_one_once(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    for url in (URL, f"{URL}/other", URL):
        ask(redis, url)
    succeed(store)
    assert sorted(delivery.url for delivery in due(redis)) == [URL, f"{URL}/other"]


def test_a_write_that_is_refused_tells_nobody(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    ask(redis)
    store.start("one", "late")
    store.start("one", "new")
    assert not publish(store, "late")
    assert due(redis) == []
    assert publish(store, "new")
    assert not store.cancel("one")
    assert [delivery.event for delivery in due(redis)] == ["succeeded"]


def test_what_is_asked_again_after_a_failure_is_told_again(redis: Redis) -> None:
    store = a_store(redis)
    for end in (fail, succeed):
        assert store.create(a_record())
        ask(redis)
        end(store)
    assert sorted(delivery.event or "" for delivery in due(redis)) == ["failed", "succeeded"]


def test_a_callback_of_nothing_is_kept_nowhere(redis: Redis) -> None:
    ask(redis)
    assert redis.keys("rise:*") == []


def test_an_explanation_takes_a_thousand_callbacks_and_no_more(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    redis.hset(webhooks_key("one"), mapping={str(number): a_delivery(number) for number in range(1000)})
    with pytest.raises(RiseError, match="1000 callbacks"):
        ask(redis)


def a_delivery(number: int) -> str:
    return WebhookDelivery(id=f"msg_{number}", explanation="one", url=f"{URL}/{number}").model_dump_json(
        exclude_none=True
    )


def a_due_delivery(redis: Redis) -> Outbox:
    store = a_store(redis)
    store.create(a_record())
    ask(redis)
    cancel(store)
    return Outbox(redis)


def test_a_leased_delivery_is_nobody_else_s_until_the_lease_is_over(redis: Redis) -> None:
    outbox = a_due_delivery(redis)
    assert len(outbox.lease(10, seconds=60)) == 1
    assert outbox.lease(10, seconds=60) == []
    assert len(outbox) == 1


def test_a_delivery_whose_deliverer_died_is_tried_by_another_under_the_same_id(redis: Redis) -> None:
    outbox = a_due_delivery(redis)
    (first,) = outbox.lease(10, seconds=0)
    (second,) = outbox.lease(10, seconds=60)
    assert (first.delivery.id, first.delivery.attempts) == (second.delivery.id, 1)
    assert second.delivery.attempts == 2
    assert not outbox.dead_letter(first, "late")
    assert outbox.delivered(second, "200 OK")
    assert len(outbox) == 0
    (kept,) = WebhookSubscriptions(redis, keep_seconds=600).of("one")
    assert (kept.state, kept.attempts, kept.answer) == ("delivered", 2, "200 OK")


def test_a_delivery_that_failed_is_due_again_after_its_pause(redis: Redis) -> None:
    outbox = a_due_delivery(redis)
    (attempt,) = outbox.lease(10, seconds=60)
    assert outbox.retry(attempt, "503", seconds=3600)
    assert outbox.lease(10, seconds=60) == []
    ((_, score),) = redis.zscan_iter("rise:outbox")
    assert float(score) == pytest.approx(float(redis.time()[0]) + 3600, abs=60)
    assert WebhookSubscriptions(redis, keep_seconds=600).of("one")[0].state == "due"


def test_a_postponed_delivery_was_not_tried(redis: Redis) -> None:
    outbox = a_due_delivery(redis)
    (attempt,) = outbox.lease(10, seconds=60)
    assert outbox.postpone(attempt, seconds=0)
    (again,) = outbox.lease(10, seconds=60)
    assert (again.delivery.attempts, again.delivery.state, again.delivery.answer) == (1, "due", None)


def test_a_delivery_of_a_deleted_explanation_leaves_the_outbox(redis: Redis) -> None:
    outbox = a_due_delivery(redis)
    ExpiryIndex(redis).delete("one")
    assert outbox.lease(10, seconds=60) == []
    assert len(outbox) == 0


def test_callbacks_live_as_long_as_they_are_tried_and_then_go(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record())
    ask(redis)
    seconds: Any = redis.ttl(webhooks_key("one"))
    assert 0 < seconds <= 600
    cancel(store)
    seconds = redis.ttl(webhooks_key("one"))
    assert WEBHOOK_GIVE_UP_SECONDS < seconds <= WEBHOOK_GIVE_UP_SECONDS + 600


def test_the_end_of_an_audit_is_told_as_such_with_the_id_of_its_explanation(redis: Redis) -> None:
    store = a_store(redis)
    store.create(a_record(audit_id("one")))
    WebhookSubscriptions(redis, keep_seconds=600).register(audit_id("one"), URL)
    assert store.cancel(audit_id("one"))
    (delivery,) = due(redis)
    told = json.loads(payload_of_delivery(delivery, "https://rise.test"))
    assert told["type"] == "audit.cancelled"
    assert told["data"]["id"] == "one"
    assert told["data"]["links"]["audit"] == "https://rise.test/v1/explanations/one/audit"
