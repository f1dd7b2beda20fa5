from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import httpx2
import pytest
from redis import Redis

from app.batches.store import BatchStore
from app.explanations.idempotency_keys import KEPT_SECONDS, IdempotencyKeys
from tests.app.batches.test_batches import a_batch, wait_for
from tests.app.batches.test_zip_reader import packed
from tests.support.hostile_images import encoded, picture


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


@cache  # because a zip archive says when it was made
def archive_of(sides: tuple[int, ...]) -> bytes:
    return packed(*((f"{side}.png", encoded(picture(side, 40), "PNG")) for side in sides)).getvalue()


def send_batch(http: httpx2.Client, key: str, *, sides: tuple[int, ...] = (40, 41), **fields: str) -> httpx2.Response:
    data = {"model": "shapes", "masks": "128", "until": "1", **fields}
    headers = {"Idempotency-Key": key}
    return http.post("/v1/batches", files={"archive": ("a.zip", archive_of(sides))}, data=data, headers=headers)


def test_the_same_key_and_request_make_one_batch_however_often_they_are_sent(http: httpx2.Client) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: send_batch(http, "batch"), range(8)))
    assert {answer.status_code for answer in answers} == {202}
    (here,) = {answer.headers["location"] for answer in answers}
    assert http.get(here).json()["total"] == 2
    wait_for(http, answers[0].json(), succeeded=2)
    finished = send_batch(http, "batch")
    assert (finished.headers["location"], finished.json()["status"]) == (here, "finished")
    members = http.get(f"{here}/explanations").json()
    assert [(member["index"], member["status"]) for member in members] == [(0, "succeeded"), (1, "succeeded")]


def test_a_key_of_a_batch_that_was_deleted_makes_another(http: httpx2.Client) -> None:
    here = send_batch(http, "deleted").headers["location"]
    assert http.delete(here).status_code == 204
    again = send_batch(http, "deleted")
    assert again.status_code == 202
    assert wait_for(http, again.json(), succeeded=2)["status"] == "finished"


def test_a_key_of_a_batch_with_another_request_is_refused(http: httpx2.Client, star: bytes) -> None:
    assert send_batch(http, "one batch").status_code == 202
    others = [send_batch(http, "one batch", seed="1"), send_batch(http, "one batch", sides=(40, 42))]
    others += [explain(http, star, "one batch")]
    images = {"model": "shapes", "images": [{"id": "x"}]}
    others += [http.post("/v1/batches", json=images, headers={"Idempotency-Key": "one batch"})]
    assert [(other.status_code, other.json()["code"]) for other in others] == [(422, "idempotency-key-reused")] * 4


def test_a_batch_that_was_refused_may_be_mended_and_sent_with_the_same_key(http: httpx2.Client) -> None:
    assert send_batch(http, "mended batch", model="nobody").json()["code"] == "unknown-name"
    assert send_batch(http, "mended batch").status_code == 202


def test_a_batch_that_is_there_already_stays_as_it_is(redis: Redis) -> None:
    batches = BatchStore(redis, keep_seconds=600)
    batch, members = a_batch()
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: batches.create(batch, members), range(8)))
    assert made.count(True) == 1
    batches.settle(batch.id, members[0].model_copy(update={"explanation": "one"}))
    assert not batches.create(batch, members)
    assert [member.index for member in batches.waiting(batch.id, 9)] == [1, 2]
    assert batches.members(batch.id, [0])[0].explanation == "one"
