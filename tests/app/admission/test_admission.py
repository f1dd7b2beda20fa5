"""Limits of keys, a full queue and fair turns, over real HTTP with a real worker."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.conftest import Service, start_service, stop_service
from tests.support.api_keys import client

MAX_QUEUED = 6
LONG = {"masks": 1_000_000}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with keys and a short queue."""
    running = start_service(tmp_path_factory.mktemp("small") / "data", RISE_KEYS="on", RISE_MAX_QUEUED=str(MAX_QUEUED))
    yield running
    stop_service(running)


def explain(http: httpx2.Client, image: bytes, **fields: Any) -> httpx2.Response:
    data = {"model": "shapes", "masks": "256", "until": "1", **{name: str(value) for name, value in fields.items()}}
    return http.post("/v1/explanations", files={"image": image}, data=data)


def cancel_all(http: httpx2.Client, answers: list[httpx2.Response]) -> None:
    for answer in answers:
        http.post(f"{answer.headers['location']}/cancel")


def accepted_soon(http: httpx2.Client, image: bytes, **fields: Any) -> httpx2.Response:
    """Try again until there is room: what waits is read a few times per second, not for every request."""
    for _ in range(100):
        answer = explain(http, image, **LONG, **fields)
        if answer.status_code == 202:
            return answer
        time.sleep(0.1)
    raise AssertionError("there is no room")


def fill(http: httpx2.Client, image: bytes, seed: int) -> list[httpx2.Response]:
    """Occupy the worker and fill the queue."""
    answers = [accepted_soon(http, image, seed=seed, priority="batch")]
    until_running(http, answers[0])
    answers += [
        explain(http, image, seed=seed + number, priority="batch", **LONG) for number in range(1, MAX_QUEUED + 1)
    ]
    assert {answer.status_code for answer in answers} == {202}
    return answers


def until_running(http: httpx2.Client, answer: httpx2.Response) -> None:
    for _ in range(600):
        if http.get(answer.headers["location"]).json()["status"] == "running":
            return
        time.sleep(0.05)
    raise AssertionError("it does not start")


def test_a_limited_key_is_told_what_is_left_and_then_when_to_come_again(small: Service) -> None:
    with client(small, "limited", "--requests-per-minute", "3") as http:
        answers = [http.get("/v1/fills") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[0].headers["ratelimit-policy"] == '"requests";q=3;w=60'
        assert answers[0].headers["ratelimit"].startswith('"requests";r=2;t=')
        refused = answers[-1]
        assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')
        assert refused.json()["code"] == "too-many-requests"
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert http.get("/livez").status_code == 200
    with client(small, "unlimited") as http:
        assert "ratelimit" not in http.get("/v1/fills").headers


def test_a_key_has_as_many_explanations_pending_as_it_may_and_gets_places_back(small: Service, star: bytes) -> None:
    with client(small, "three", "--max-pending", "3") as http:
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(lambda seed: explain(http, star, seed=seed, **LONG), range(100, 106)))
        accepted = [answer for answer in answers if answer.status_code == 202]
        refused = [answer for answer in answers if answer.status_code != 202]
        assert len(accepted) == 3
        assert {answer.status_code for answer in refused} == {429}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert explain(http, b"no image", seed=107).status_code == 429  # refused before it is looked at
        cancel_all(http, accepted[:1])
        accepted.append(explain(http, star, seed=108, **LONG))
        assert accepted[-1].status_code == 202
        cancel_all(http, accepted)
        assert explain(http, b"no image", seed=109).status_code == 422  # and takes no place
        for seed in range(110, 113):
            accepted.append(explain(http, star, seed=seed, **LONG))
            assert accepted[-1].status_code == 202
        cancel_all(http, accepted)


def test_a_full_queue_refuses_before_it_looks_at_the_image_and_says_when_to_come_again(
    small: Service, star: bytes
) -> None:
    with client(small, "filler") as http:
        answers = fill(http, star, seed=200)
        try:
            for image in (star, b"no image"):
                refused = explain(http, image, seed=299)
                assert refused.status_code == 503
                assert refused.json()["code"] == "busy"
                assert int(refused.headers["retry-after"]) >= 1
            again = explain(http, star, seed=203, **LONG)
            assert again.status_code == 200
            assert again.json()["id"] == answers[3].json()["id"]
            assert http.get("/v1/models").status_code == 200
            http.post(f"{answers[-1].headers['location']}/cancel")
            answers.append(accepted_soon(http, star, seed=298))
        finally:
            cancel_all(http, answers)


def test_what_waits_is_told_its_place_and_when_it_will_have_ended(small: Service, star: bytes) -> None:
    with client(small, "waiting") as http:
        explain(http, star, seed=300, masks=2000)
        answers = fill(http, star, seed=301)
        try:
            seen = [http.get(answer.headers["location"]).json() for answer in answers[1:]]
            assert [body["queue_position"] for body in seen] == list(range(MAX_QUEUED))
            etas = [body["eta_seconds"] for body in seen]
            assert etas == sorted(etas)
            assert etas[0] > 10  # a million masks take longer on anything that runs these tests
            assert int(answers[-1].headers["retry-after"]) == 60
        finally:
            cancel_all(http, answers)


def test_who_comes_with_one_is_served_before_the_rest_of_somebody_s_many(small: Service, star: bytes) -> None:
    with client(small, "crowd", "--tenant", "crowd") as crowd, client(small, "guest", "--tenant", "guest") as guest:
        blocker = accepted_soon(crowd, star, seed=400)
        until_running(crowd, blocker)
        many = [explain(crowd, star, seed=seed) for seed in range(401, 405)]
        one = explain(guest, star, seed=499)
        batch = explain(guest, star, seed=498, priority="batch")
        assert [guest.get(answer.headers["location"]).json()["queue_position"] for answer in (one, batch)] == [1, 5]
        crowd.post(f"{blocker.headers['location']}/cancel")
        ended = {
            answer.headers["location"]: http.get(answer.headers["location"], params={"wait": 60}).json()["finished_at"]
            for http, answers in ((crowd, many), (guest, [one, batch]))
            for answer in answers
        }
        order = sorted(ended, key=lambda here: str(ended[here]))
        assert order.index(one.headers["location"]) == 1
        assert order.index(batch.headers["location"]) == 5


def test_an_unknown_priority_is_refused_and_a_known_one_changes_nothing_about_the_result(
    small: Service, star: bytes
) -> None:
    with client(small, "priorities", "--tenant", "p") as http:
        assert explain(http, star, priority="urgent").json()["errors"][0]["field"] == "/priority"
        first, second = (explain(http, star, seed=500, priority=priority) for priority in ("batch", "interactive"))
        assert first.json()["id"] == second.json()["id"]
