"""Lists of explanations, over real HTTP and straight from a real server."""

from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from app.contract.redis.keys import record_key
from app.contract.schemas import ExplanationRecord, Status
from app.explanations.listing import Listing, read_cursor
from tests.contract.test_store import a_record, a_store
from tests.support.api_requests import explain

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def created(number: int, *, second: int, tenant: str = "public", model: str = "m") -> ExplanationRecord:
    record = a_record(f"id{number:04d}")
    request = record.request.model_copy(update={"model": record.request.model.model_copy(update={"id": model})})
    born = BEGINNING + timedelta(seconds=second)
    return record.model_copy(update={"created_at": born, "tenant": tenant, "request": request})


def pages(
    listing: Listing, *, limit: int, tenant: str = "public", status: Status | None = None, model: str | None = None
) -> list[str]:
    """Return all ids by following the cursor as a client does: through its text."""
    ids: list[str] = []
    after = None
    while True:
        page = listing.page(tenant, limit=limit, after=after, status=status, model=model)
        assert len(page.records) <= limit
        ids += [record.id for record in page.records]
        if page.next is None:
            return ids
        after = read_cursor(str(page.next))


@given(seconds=st.lists(st.integers(0, 3), max_size=12), limit=st.integers(1, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_pages_hold_every_explanation_once_and_the_newest_first(redis: Redis, seconds: list[int], limit: int) -> None:
    redis.flushall()
    store = a_store(redis)
    for number, second in enumerate(seconds):
        store.create(created(number, second=second))
    expected = sorted(((second, f"id{number:04d}") for number, second in enumerate(seconds)), reverse=True)
    assert pages(Listing(redis, store), limit=limit) == [name for _, name in expected]


def test_more_explanations_of_one_moment_than_one_reply_holds_are_all_listed(redis: Redis) -> None:
    store = a_store(redis)
    for number in range(250):
        store.create(created(number, second=1))
    assert pages(Listing(redis, store), limit=100) == [f"id{number:04d}" for number in reversed(range(250))]


def test_a_filter_that_little_passes_still_finds_it_behind_thousands(redis: Redis) -> None:
    store = a_store(redis)
    for number in range(1500):
        store.create(created(number, second=number, model="rare" if number == 3 else "m"))
    listing = Listing(redis, store)
    first = listing.page("public", limit=10, status=None, model="rare")
    assert first.records == []
    assert first.next is not None
    assert pages(listing, limit=10, model="rare") == ["id0003"]


def test_a_list_shows_what_is_asked_for_and_nothing_of_others(redis: Redis) -> None:
    store = a_store(redis)
    for number, tenant in enumerate(["ours", "theirs", "ours", "ours"]):
        store.create(created(number, second=number, tenant=tenant))
    store.cancel("id0002")
    listing = Listing(redis, store)
    assert pages(listing, limit=2, tenant="ours") == ["id0003", "id0002", "id0000"]
    assert pages(listing, limit=2, tenant="theirs") == ["id0001"]
    assert pages(listing, limit=2, tenant="nobody's") == []
    assert pages(listing, limit=2, tenant="ours", status=Status.CANCELLED) == ["id0002"]


def test_what_has_expired_is_not_listed_and_what_was_asked_for_again_is_new(redis: Redis) -> None:
    store = a_store(redis)
    for number in range(4):
        store.create(created(number, second=number))
    redis.delete(record_key("id0002"))
    store.cancel("id0000")
    store.create(created(0, second=9))
    assert pages(Listing(redis, store), limit=2) == ["id0000", "id0003", "id0001"]


def test_the_list_is_read_page_by_page_over_http(http: httpx2.Client, star: bytes) -> None:
    made = [explain(http, star, masks=128, until=1, seed=seed).json()["id"] for seed in (601, 602, 603)]
    listed, address = [], "/v1/explanations?limit=2&model=shapes&status=succeeded"
    for _ in range(1000):
        answer = http.get(address)
        assert answer.status_code == 200, answer.text
        listed += answer.json()
        if "link" not in answer.headers:
            break
        address = answer.links["next"]["url"]
    ids = [item["id"] for item in listed]
    assert len(ids) == len(set(ids))
    assert [name for name in ids if name in made] == made[::-1]
    assert {item["status"] for item in listed} == {"succeeded"}
    assert http.get(listed[0]["links"]["self"]).json()["id"] == listed[0]["id"]
    assert http.get("/v1/explanations", params={"model": "nobody"}).json() == []


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "after=x", "status=lost", "after=1-../x", "page=2"])
def test_a_question_that_no_list_answers_is_refused(http: httpx2.Client, query: str) -> None:
    answer = http.get(f"/v1/explanations?{query}")
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid-parameters"
