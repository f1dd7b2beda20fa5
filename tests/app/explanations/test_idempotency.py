from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from redis import Redis

from app.explanations.idempotency_keys import KEPT_SECONDS, IdempotencyKeys


def explain(http: httpx2.Client, image: bytes, key: str, **fields: Any) -> httpx2.Response:
    data = {"model": "shapes", "masks": "256", "until": "1", **{name: str(value) for name, value in fields.items()}}
    return http.post("/v1/explanations", files={"image": image}, data=data, headers={"Idempotency-Key": key})


def test_a_key_stands_for_one_request_of_one_tenant(redis: Redis) -> None:
    keys = IdempotencyKeys(redis)
    assert keys.claim("a", "k", "first") == ""
    assert keys.claim("a", "k", "first") == ""
    assert keys.claim("a", "k", "second") is None
    assert keys.claim("b", "k", "second") == ""
    keys.settle("a", "k", "first", "id")
    assert keys.claim("a", "k", "first") == "id"


def test_a_claim_is_short_lived_and_what_came_of_it_is_kept_for_a_day(redis: Redis) -> None:
    keys = IdempotencyKeys(redis)
    keys.claim("a", "k", "first")
    (name,) = redis.keys("rise:idempotency:*")
    assert 0 < int(redis.ttl(name)) <= 300
    keys.settle("a", "k", "first", "id")
    assert KEPT_SECONDS - 5 <= int(redis.ttl(name)) <= KEPT_SECONDS


def test_a_released_claim_is_free_but_never_what_somebody_else_has_settled(redis: Redis) -> None:
    keys = IdempotencyKeys(redis)
    keys.claim("a", "k", "first")
    keys.release("a", "k")
    assert keys.claim("a", "k", "second") == ""
    keys.settle("a", "k", "second", "id")
    keys.release("a", "k")
    keys.settle("a", "k", "first", "other")  # late, and no longer meant
    assert keys.claim("a", "k", "second") == "id"


def test_the_same_key_and_request_give_the_same_answer_however_it_ended(http: httpx2.Client, star: bytes) -> None:
    first = explain(http, star, "again", masks=1_000_000, seed=801)
    assert first.status_code == 202
    here = first.headers["location"]
    repeated = explain(http, star, "again", masks=1_000_000, seed=801)
    assert (repeated.status_code, repeated.headers["location"]) == (202, here)
    http.post(f"{here}/cancel")
    ended = explain(http, star, "again", masks=1_000_000, seed=801)
    assert ended.status_code == 200
    assert ended.json()["status"] == "cancelled"


@pytest.mark.parametrize("other", ["field", "image"])
def test_the_same_key_with_another_request_is_refused(http: httpx2.Client, star: bytes, other: str) -> None:
    assert explain(http, star, f"reused-{other}", seed=802).status_code in {200, 202}
    answer = explain(http, star + b"\0" * (other == "image"), f"reused-{other}", seed=803 if other == "field" else 802)
    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency-key-reused"


def test_a_refused_request_may_be_mended_and_sent_with_the_same_key(http: httpx2.Client, star: bytes) -> None:
    assert explain(http, star, "mended", model="nobody").json()["code"] == "unknown-name"
    assert explain(http, b"no image", "mended", seed=804).json()["code"] == "unreadable-image"
    assert explain(http, star, "mended", seed=804).status_code == 202


def test_duplicates_that_arrive_together_are_one_explanation(http: httpx2.Client, star: bytes) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: explain(http, star, "together", seed=805), range(8)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_of_different_requests_that_arrive_together_with_one_key_one_is_accepted(
    http: httpx2.Client, star: bytes
) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda seed: explain(http, star, "race", seed=seed), range(810, 818)))
    accepted = [answer for answer in answers if answer.status_code in {200, 202}]
    assert len(accepted) == 1
    assert {answer.json()["code"] for answer in answers if answer not in accepted} == {"idempotency-key-reused"}


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_a_length(http: httpx2.Client, star: bytes, key: str) -> None:
    assert explain(http, star, key).status_code == 422
