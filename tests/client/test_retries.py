"""The client asks again while the service is busy or away, and only what may be asked again."""

import socket
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from redis import Redis

from rise_client import Batch, Client, ServiceError
from tests.conftest import SAMPLES, Service
from tests.support.http_proxy import BAD_GATEWAY, BUSY, LOST, Forward, relay
from tests.support.http_receivers import Answer, Asked, receiver

STAR = SAMPLES / "star.jpg"
PAGE = Answer(200, (b"<h1>Sign in</h1>",), {"Content-Type": "text/html; charset=utf-8"})
MOVED = Answer(302, (b"",), {"Location": "https://login.example/", "Content-Type": "text/html"})
TEXT = Answer(200, (b"It works!",), {"Content-Type": "text/plain"})
OTHERS = Answer(200, (b'{"object": "list", "data": []}',), {"Content-Type": "application/json"})
NO_ADDRESS = ("localhost:8000", "127.0.0.1:8000", "", "ftp://127.0.0.1")

Instead = Callable[[Asked, Forward], Answer]


def at_first(answer: Answer, times: int, method: str, ending: str, *, carried_out: bool = False) -> Instead:
    """Return what spoils the first requests of a kind, after they were carried out or before."""
    left = [answer] * times

    def instead(came: Asked, forward: Forward) -> Answer:
        if not left or came.method != method or not came.path.partition("?")[0].endswith(ending):
            return forward(came)
        if carried_out:
            forward(came)
        return left.pop()

    return instead


def small_batch(client: Client) -> Batch:
    return client.batch([STAR], model="shapes", masks=256)


def batches_of(service: Service) -> int:
    with Redis.from_url((service.data / "redis.url").read_text()) as redis:
        return sum(name.count(b":") == 2 for name in redis.scan_iter("rise:batch:*"))


@pytest.mark.parametrize("answer", [BAD_GATEWAY, Answer(504), Answer(503), LOST], ids=["502", "504", "503", "lost"])
def test_a_batch_whose_answer_is_lost_is_sent_again_and_not_made_twice(service: Service, answer: Answer) -> None:
    spoiled, before = at_first(answer, 2, "POST", "/batches", carried_out=True), batches_of(service)
    with relay(service.url, spoiled) as between, Client(between.url) as client:
        assert small_batch(client).wait().data.total == 1
    assert between.times("POST", "/batches") == 3
    assert batches_of(service) == before + 1


def test_a_batch_that_the_service_refused_because_it_is_busy_is_sent_again(service: Service) -> None:
    spoiled = at_first(BUSY, 1, "POST", "/batches")
    with relay(service.url, spoiled) as between, Client(between.url) as client:
        assert small_batch(client).wait().data.total == 1
    assert between.times("POST", "/batches") == 2


def test_a_batch_for_a_service_that_is_away_is_sent_when_it_is_there(service: Service) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, ThreadPoolExecutor() as threads:
        asked = threads.submit(small_batch, client)
        time.sleep(0.3)
        assert not asked.done()
        with relay(service.url, lambda came, forward: forward(came), port=port):
            assert asked.result().wait().data.total == 1


@pytest.mark.parametrize("answer", [BAD_GATEWAY, LOST], ids=["502", "lost"])
def test_a_delete_whose_answer_is_lost_has_worked(service: Service, answer: Answer) -> None:
    spoiled = at_first(answer, 1, "DELETE", "", carried_out=True)
    with relay(service.url, spoiled) as between, Client(between.url) as client:
        explanation = client.explain(STAR, model="shapes", masks=256, seed=101).wait()
        explanation.delete()
        assert between.times("DELETE", "") == 2
        with pytest.raises(ServiceError, match="not-found"):
            explanation.refresh()
        with pytest.raises(ServiceError, match="not-found"):
            explanation.delete()


def test_a_batch_is_deleted_though_the_answer_is_lost(service: Service) -> None:
    spoiled = at_first(LOST, 1, "DELETE", "", carried_out=True)
    with relay(service.url, spoiled) as between, Client(between.url) as client:
        batch = small_batch(client).wait()
        batch.delete()
        with pytest.raises(ServiceError) as caught:
            batch.refresh()
    assert caught.value.status in {404, 410}


@pytest.mark.parametrize("answer", [BUSY, BAD_GATEWAY, LOST], ids=["503", "502", "lost"])
def test_progress_comes_though_the_service_is_busy_at_first(service: Service, answer: Answer) -> None:
    with relay(service.url, at_first(answer, 2, "GET", "/events")) as between, Client(between.url) as client:
        explanation = client.explain(STAR, model="shapes", masks=3000, until=1, seed=102)
        assert [report.masks for report in explanation.progress()]
        assert explanation.data.status == "succeeded"
        explanation.delete()


def test_progress_of_a_service_that_stays_busy_ends_with_the_patience(service: Service) -> None:
    spoiled = at_first(BUSY, 1000, "GET", "/events")
    with relay(service.url, spoiled) as between, Client(between.url, retry_timeout_seconds=1) as client:
        explanation = client.explain(STAR, model="shapes", masks=1_000_000, until=1, seed=103)
        with pytest.raises(ServiceError, match="overloaded"):
            list(explanation.progress())
        explanation.delete()
    assert between.times("GET", "/events") == 2


def test_waiting_does_not_ask_all_the_time_where_the_service_holds_nothing(service: Service) -> None:
    def unheld(came: Asked, forward: Forward) -> Answer:
        return forward(Asked(came.method, came.path.partition("?")[0], came.headers, came.body))

    with relay(service.url, unheld) as between, Client(between.url) as client:
        explanation = client.explain(STAR, model="shapes", masks=1_000_000, until=1, seed=104)
        with pytest.raises(TimeoutError):
            explanation.wait(3)
        explanation.delete()
    assert 1 < between.times("GET", explanation.data.id) <= 6


def test_progress_does_not_ask_all_the_time_where_streams_end_at_once(service: Service) -> None:
    ended = Answer(200, (), {"Content-Type": "text/event-stream"})
    spoiled = at_first(ended, 1000, "GET", "/events")
    with relay(service.url, spoiled) as between, Client(between.url) as client:
        explanation = client.explain(STAR, model="shapes", masks=1_000_000, until=1, seed=105)
        threading.Timer(3, client.explanation(explanation.data.id).cancel).start()
        assert list(explanation.progress()) == []
        explanation.delete()
    assert 1 < between.times("GET", "/events") <= 12


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file from an earlier download, alone in its folder."""
    path = tmp_path / "maps.zip"
    path.write_bytes(b"of yesterday")
    return path


def test_a_download_that_is_refused_leaves_the_file_that_is_there(service: Service, path: Path) -> None:
    with Client(service.url) as client:
        batch = small_batch(client).wait()
        batch.delete()
        with pytest.raises(ServiceError):
            batch.download(path)
    assert path.read_bytes() == b"of yesterday"
    assert list(path.parent.iterdir()) == [path]


def test_a_download_that_breaks_off_leaves_the_file_that_is_there(service: Service, path: Path) -> None:
    half = Answer(200, (b"half",), {"Content-Type": "application/zip", "Content-Length": "8"})
    with relay(service.url, at_first(half, 1, "GET", "/archive")) as between, Client(between.url) as client:
        batch = small_batch(client).wait()
        with pytest.raises(httpx2.TransportError):
            batch.download(path)
    assert path.read_bytes() == b"of yesterday"
    assert list(path.parent.iterdir()) == [path]


def test_a_download_is_asked_for_again_while_the_service_is_busy(service: Service, path: Path) -> None:
    mode = path.stat().st_mode
    with relay(service.url, at_first(BUSY, 1, "GET", "/archive")) as between, Client(between.url) as client:
        assert small_batch(client).wait().download(path) == path
        assert between.times("GET", "/archive") == 2
    assert zipfile.is_zipfile(path)
    assert path.stat().st_mode == mode
    assert list(path.parent.iterdir()) == [path]


def test_a_download_goes_where_a_link_leads_and_into_what_is_no_file(service: Service, path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    with Client(service.url) as client:
        batch = small_batch(client).wait()
        batch.download(link)
        assert batch.download("/dev/null").is_char_device()
    assert link.is_symlink()
    assert zipfile.is_zipfile(path)


@pytest.mark.timeout(20)  # a wrong address stays wrong, however often it is tried
@pytest.mark.parametrize("address", NO_ADDRESS)
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with Client(address) as client, pytest.raises(httpx2.UnsupportedProtocol):
        client.models()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (PAGE, "answered 200 OK with text/html, not as rise-serve does: is the address right"),
        (MOVED, "answered 302 Found with text/html and leads to https://login.example/, not as"),
        (TEXT, "answered 200 OK with text/plain, not as"),
        (OTHERS, "answered 200 OK with application/json, not as"),
        (Answer(404), "answered 404 Not Found with no content type, not as"),
    ],
)
def test_what_is_no_answer_of_the_service_is_said_in_a_sentence(answer: Answer, words: str) -> None:
    with receiver(lambda _: answer) as other, Client(other.url.replace("//", "//user:secret@")) as client:
        for call in (client.models, lambda: client.explanation("1"), lambda: small_batch(client)):
            with pytest.raises(ServiceError, match=words) as caught:
                call()
            assert "secret" not in str(caught.value)
            assert caught.value.status == answer.status
