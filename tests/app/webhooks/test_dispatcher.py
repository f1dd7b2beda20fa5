"""Callbacks on their way: a real Valkey, real receivers."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable

import pytest
from redis import Redis

from app.contract.explanations.webhook_subscriptions import WebhookDelivery, WebhookSubscriptions
from app.egress.allowlist import HostAllowlist, read_hosts
from app.egress.client import ssrf_safe_client
from app.maintenance.periodic import running
from app.webhooks.dispatcher import WebhookDispatcher, WebhookRetryPolicy
from app.webhooks.outbox import Outbox
from app.webhooks.signature import read_secrets, sign
from tests.contract.test_store import a_record, a_store
from tests.support.http_receivers import Answer, receiver

SECRET = b"0123456789abcdef0123456789abcdef"
QUICK = WebhookRetryPolicy(answer=5, pause=0.01)


def test_the_signature_is_the_one_of_the_published_vector() -> None:
    body = b'{"type":"job.completed","timestamp":"2026-11-22T00:00:00Z","data":{"id":"j1"}}'
    assert sign([SECRET], "msg_1", 1700000000, body) == "v1,NUjuQEdruOD/vm6G5JZaiF5i6HyFuACD0zxLtpSiDck="


def test_secrets_are_text_or_base64_and_all_of_them_sign() -> None:
    encoded = "whsec_" + base64.b64encode(SECRET).decode()
    assert read_secrets(SECRET.decode()) == read_secrets(encoded) == (SECRET,)
    assert read_secrets("") == ()
    both = read_secrets(f"{encoded}, another-secret-that-is-long-enough")
    first, second = sign(both, "msg_1", 1, b"x").split(" ")
    assert first == sign([SECRET], "msg_1", 1, b"x")
    assert second.startswith("v1,")
    assert second != first


@pytest.mark.parametrize("text", ["short", "whsec_!!!", "whsec_c2hvcnQ="])
def test_a_secret_that_protects_nothing_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="RISE_WEBHOOK_SECRET") as found:
        read_secrets(text)
    assert text not in str(found.value)


def ended_with_callbacks(redis: Redis, *urls: str) -> WebhookSubscriptions:
    store, callbacks = a_store(redis), WebhookSubscriptions(redis, keep_seconds=600)
    store.create(a_record())
    for url in urls:
        callbacks.register("one", url)
    store.cancel("one")
    return callbacks


def deliver_until(redis: Redis, host: str, done: Callable[[], bool], patience: WebhookRetryPolicy = QUICK) -> None:
    """Run a deliverer until something holds."""

    async def run() -> None:
        hosts = HostAllowlist(trusted=read_hosts(host))
        async with ssrf_safe_client(hosts, seconds=patience.answer) as client:
            deliverer = WebhookDispatcher(Outbox(redis), client, (SECRET,), "https://rise.test", patience)
            async with running(deliverer.task(), grace_seconds=30), asyncio.timeout(60):
                while not await asyncio.to_thread(done):
                    await asyncio.sleep(0.02)

    asyncio.run(run())


def settled(callbacks: WebhookSubscriptions) -> list[WebhookDelivery]:
    return [delivery for delivery in callbacks.of("one") if delivery.state in {"delivered", "given-up"}]


def test_a_receiver_that_fails_five_times_gets_it_the_sixth(redis: Redis) -> None:
    statuses = [500, 503, 404, 302, 429, 204]
    with receiver(lambda _: Answer(statuses.pop(0), headers={"Location": "/elsewhere"})) as server:
        callbacks = ended_with_callbacks(redis, f"{server.url}/hook")
        deliver_until(redis, server.host, lambda: bool(settled(callbacks)))
    (delivery,) = callbacks.of("one")
    assert (delivery.state, delivery.attempts, delivery.answer) == ("delivered", 6, "204 No Content")
    assert [(asked.method, asked.path) for asked in server.asked] == [("POST", "/hook")] * 6
    assert {asked.headers["webhook-id"] for asked in server.asked} == {delivery.id}
    assert len({asked.body for asked in server.asked}) == 1


def test_a_message_is_signed_and_says_what_ended_with_links_and_without_maps(redis: Redis) -> None:
    with receiver(lambda _: Answer()) as server:
        callbacks = ended_with_callbacks(redis, f"{server.url}/hook?for=me")
        deliver_until(redis, server.host, lambda: bool(settled(callbacks)))
    (asked,) = server.asked
    assert asked.path == "/hook?for=me"
    assert asked.headers["content-type"] == "application/json"
    signed = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode() + asked.body
    expected = base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
    assert asked.headers["webhook-signature"] == f"v1,{expected}"
    message = json.loads(asked.body)
    assert message["type"] == "explanation.cancelled"
    here = "https://rise.test/v1/explanations/one"
    links = {"self": here, "image": f"{here}/image"}
    assert message["data"] == {"id": "one", "status": "cancelled", "error": None, "links": links}


def test_a_receiver_that_is_gone_is_not_asked_again(redis: Redis) -> None:
    with receiver(lambda _: Answer(410)) as server:
        callbacks = ended_with_callbacks(redis, server.url)
        deliver_until(redis, server.host, lambda: bool(settled(callbacks)))
    assert len(server.asked) == 1
    assert callbacks.of("one")[0].state == "given-up"


def test_a_receiver_that_never_accepts_is_given_up_and_that_is_recorded(redis: Redis) -> None:
    with receiver(lambda _: Answer(500)) as server:
        callbacks = ended_with_callbacks(redis, server.url)
        patience = WebhookRetryPolicy(answer=5, pause=0.01, give_up=1)
        deliver_until(redis, server.host, lambda: bool(settled(callbacks)), patience)
    (delivery,) = callbacks.of("one")
    assert delivery.state == "given-up"
    assert delivery.attempts == len(server.asked) > 1
    assert delivery.answer == "500 Internal Server Error"
    assert len(Outbox(redis)) == 0


def test_an_address_that_is_not_allowed_any_more_is_never_asked(redis: Redis) -> None:
    with receiver(lambda _: Answer()) as server:
        callbacks = ended_with_callbacks(redis, server.url)
        deliver_until(redis, "elsewhere.test", lambda: callbacks.of("one")[0].attempts > 0 and _answered(callbacks))
    assert server.asked == []
    assert "https" in str(callbacks.of("one")[0].answer)


def _answered(callbacks: WebhookSubscriptions) -> bool:
    return callbacks.of("one")[0].answer is not None


def test_a_receiver_that_does_not_answer_keeps_no_other_one_waiting(redis: Redis) -> None:
    release, held = threading.Event(), list[int]()
    with receiver(lambda _: Answer(wait_for=release)) as slow, receiver(lambda _: Answer()) as quick:
        urls = [f"{slow.url}/{number}" for number in range(100)]
        callbacks = ended_with_callbacks(redis, *urls, quick.url.replace("127.0.0.1", "localhost"))

        def quick_one_is_told() -> bool:
            told = any("localhost" in delivery.url for delivery in settled(callbacks))
            if told:
                held.append(len(slow.asked))
                release.set()
            return told

        hosts = f"{slow.host}, localhost:{quick.port}"
        deliver_until(redis, hosts, quick_one_is_told, WebhookRetryPolicy(answer=100))
    tried = [delivery for delivery in callbacks.of("one") if delivery.attempts and "localhost" not in delivery.url]
    assert 1 <= held[0] <= 16
    ends = {(delivery.state, delivery.attempts, delivery.answer) for delivery in tried}
    assert ends == {("delivered", 1, "200 OK")}  # all brought to their end


def test_pauses_double_are_spread_and_stay_below_an_hour_and_a_half() -> None:
    patience = WebhookRetryPolicy()
    for attempts, nominal in ((1, 5.0), (2, 10.0), (5, 80.0), (30, 3600.0), (10_000, 3600.0)):
        pauses = {patience.pause_after(attempts) for _ in range(50)}
        assert len(pauses) > 1
        assert nominal / 2 <= min(pauses) <= max(pauses) <= nominal * 1.5
