"""Requests that wait, and what they cost others."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.app.explanations.test_events import endless
from tests.conftest import Service
from tests.support.api_requests import explain


@pytest.mark.parametrize("wait", ["-1", "nan", "soon", "-inf", "1e400x"])
def test_a_time_that_nobody_can_wait_is_refused(http: httpx2.Client, star: bytes, wait: str) -> None:
    here = explain(http, star, masks=128, until=1, seed=901).json()["links"]["self"]
    answer = http.get(here, params={"wait": wait})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameters")


@pytest.mark.parametrize("wait", ["0", "0.25", "1e300", "inf", "99999999999999999999"])
def test_any_time_may_be_asked_for_and_what_has_ended_is_not_waited_for(
    http: httpx2.Client, star: bytes, wait: str
) -> None:
    here = explain(http, star, masks=128, until=1, seed=901).json()["links"]["self"]
    assert http.get(here, params={"wait": wait}).json()["status"] == "succeeded"


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=60", "wait=60"),
        ("respond-async, wait=999999999", "wait=60"),
        ('wait="7"', "wait=7"),
        ("Wait=7", "wait=7"),
        ("wait=0", "wait=0"),
        ("wait=-1", None),
        ("wait=soon", None),
        ("return=minimal", None),
    ],
)
def test_a_preference_is_applied_as_far_as_the_operator_lets_it(
    http: httpx2.Client, star: bytes, prefer: str, applied: str | None
) -> None:
    answer = explain(http, star, headers={"Prefer": prefer}, masks=128, until=1, seed=901)
    assert answer.status_code in {200, 202}
    assert answer.headers.get("preference-applied") == applied


def test_an_answer_that_was_waited_for_says_by_its_status_whether_it_has_ended(
    http: httpx2.Client, star: bytes
) -> None:
    here = endless(http, star, 904)
    answers = [explain(http, star, headers={"Prefer": "wait=0"}, masks=1_000_000, until=1, seed=904) for _ in range(2)]
    assert [answer.json()["links"]["self"] for answer in answers] == [here, here]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert all("retry-after" in answer.headers for answer in answers)
    http.post(f"{here}/cancel")


def test_a_hundred_waiting_requests_leave_room_for_others_and_all_hear_of_the_end(
    service: Service, http: httpx2.Client, star: bytes
) -> None:
    first, second = endless(http, star, 902), endless(http, star, 903)

    async def story() -> list[dict[str, Any]]:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx2.AsyncClient(base_url=service.url, limits=limits, timeout=90) as crowd:
            waiting = [asyncio.create_task(crowd.get(second, params={"wait": 60})) for _ in range(100)]
            for _ in range(5):
                assert (await crowd.get(first)).json()["status"] in {"queued", "running"}
            assert not any(task.done() for task in waiting)
            assert (await crowd.post(f"{second}/cancel")).status_code == 202
            return [answer.json() for answer in await asyncio.gather(*waiting)]

    assert {body["status"] for body in asyncio.run(story())} == {"cancelled"}
    http.post(f"{first}/cancel")


def test_cancelling_twice_or_what_has_ended_changes_nothing(http: httpx2.Client, star: bytes) -> None:
    done = explain(http, star, masks=128, until=1, seed=901).json()
    for _ in range(2):
        answer = http.post(f"{done['links']['self']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "succeeded")
    assert http.post("/v1/explanations/nobody/cancel").status_code == 404
