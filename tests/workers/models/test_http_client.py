"""Connections to models' servers: what is tried again, how long is waited, how much goes on at once."""

import time
from email.utils import formatdate
from http import HTTPStatus
from threading import Barrier, BrokenBarrierError, Event

import pytest

from tests.support.loopback import Asked, Reply, loopback
from workers.blackbox import BlackBoxError
from workers.remote.http.client import HttpRequest, HttpResponse, ModelServerClient, pause_after, retry_after_seconds
from workers.remote.http.options import ConnectionOptions


def connection(**options: float) -> ModelServerClient:
    return ModelServerClient(ConnectionOptions.model_validate({"retries": 2, **options}))


@pytest.mark.parametrize("status", [status for status in HTTPStatus if status >= 300])
def test_what_a_server_refuses_for_the_moment_is_tried_again_and_nothing_else(status: HTTPStatus) -> None:
    with loopback(lambda _: Reply(b"", status)) as server:
        with pytest.raises(BlackBoxError, match=f"answered {status}"):
            connection().send(HttpRequest(server.url))
        assert len(server.log) == (3 if status in {408, 429, 502, 503, 504} else 1)


def test_a_connection_that_breaks_is_tried_again() -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(b"x" * 1000, cut=asked.number < 2)

    with loopback(answer) as server:
        assert connection().send(HttpRequest(server.url, b"content")).content == b"x" * 1000
        assert [asked.body for asked in server.log] == [b"content"] * 3


def test_an_answer_that_is_late_is_not_asked_for_again() -> None:
    with loopback(lambda _: Reply(never=True)) as server:
        with pytest.raises(BlackBoxError, match=r"did not answer within 0\.2 s"):
            connection(answer_seconds=0.2).send(HttpRequest(server.url))
        assert len(server.log) == 1


def test_an_answer_that_comes_drop_by_drop_is_late_too() -> None:
    late = pytest.raises(BlackBoxError, match=r"did not answer within 0\.3 s")
    with loopback(lambda _: Reply(b"x" * 200, drop_seconds=0.05)) as server, late:
        connection(answer_seconds=0.3).send(HttpRequest(server.url))


def test_the_server_says_how_long_to_wait() -> None:
    busy = HttpResponse(503, {"retry-after": "7"}, b"")
    assert pause_after(1, busy) == 7
    assert pause_after(1, HttpResponse(503, {}, b"")) < pause_after(2, HttpResponse(503, {}, b"")) <= 2
    assert pause_after(100, HttpResponse(503, {"retry-after": "soon"}, b"")) == 2
    date = HttpResponse(503, {"retry-after": formatdate(time.time() + 100, usegmt=True)}, b"")
    assert 90 < retry_after_seconds(date) <= 100


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_a_long_pause_has_failed(status: int) -> None:
    with loopback(lambda _: Reply(b"", status, {"Retry-After": "31"})) as server:
        with pytest.raises(BlackBoxError, match=r"asks to wait 31 s"):
            connection().send(HttpRequest(server.url))
        assert len(server.log) == 1


def test_no_more_requests_are_under_way_than_the_options_say() -> None:
    all_three = Barrier(3, timeout=20)

    def answer(_: Asked) -> Reply:
        all_three.wait()
        return Reply()

    with loopback(answer) as server:
        client = connection(concurrency=3)
        client.map_concurrent(lambda _, cancelled: client.send(HttpRequest(server.url), cancelled), range(9))
        assert server.most_at_once == 3


def test_answers_keep_the_order_of_their_questions() -> None:
    with loopback(lambda asked: Reply(asked.body)) as server:
        client = connection(concurrency=3)
        answers = client.map_concurrent(
            lambda number, cancelled: client.send(HttpRequest(server.url, str(number).encode()), cancelled).content,
            range(50),
        )
    assert answers == [str(number).encode() for number in range(50)]


def test_the_first_failure_ends_the_waiting_of_the_others() -> None:
    waiting = Event()

    def answer(asked: Asked) -> Reply:
        if asked.body == b"0":
            waiting.wait(20)
            return Reply(b"", 500)
        waiting.set()
        return Reply(b"", 503, {"Retry-After": "25"})

    with loopback(answer) as server:
        client = connection(concurrency=2)

        def ask(number: int, cancelled: Event) -> HttpResponse:
            return client.send(HttpRequest(server.url, str(number).encode()), cancelled)

        with pytest.raises(BlackBoxError, match="answered 500"):
            client.map_concurrent(ask, range(2))
        both_free = Barrier(2, timeout=10)  # because only threads that wait no longer can meet

        def meet(_: int, __: Event) -> bool:
            try:
                both_free.wait()
            except BrokenBarrierError:
                return False
            return True

        assert client.map_concurrent(meet, range(2)) == [True, True]
