"""Bodies that stop coming, sent byte by byte over real connections."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.conftest import Service, start_service, stop_service
from tests.support.api_requests import explain

PATIENCE_SECONDS = 1.0
FORM = b"multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nshapes'
FILE = PART.replace(b'"model"', b'"image"; filename="it.png"')


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("impatient")
    running = start_service(folder / "data", RISE_BODY_SECONDS=str(PATIENCE_SECONDS))
    yield running
    stop_service(running)


def head(path: str, media_type: bytes, length: int) -> bytes:
    lines = [f"POST {path} HTTP/1.1".encode(), b"Host: here", b"Content-Type: " + media_type]
    return b"\r\n".join([*lines, b"Content-Length: %d" % length, b"", b""])


def answer_to(service: Service, pieces: list[bytes], *, pause: float = 0.0) -> tuple[int, dict[str, Any], float]:
    """Send pieces and nothing more; return status, body, and for how long the connection stayed open then."""
    parts = urlsplit(service.url)
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        sent, whole = time.monotonic(), b""
        while data := connection.recv(65536):
            whole += data
        fields, _, body = whole.partition(b"\r\n\r\n")
        return int(fields[9:12]), json.loads(body), time.monotonic() - sent


@pytest.mark.parametrize(
    ("path", "media_type", "start"),
    [
        ("/v1/explanations", FORM, PART),
        ("/v1/explanations", b"application/json", b'{"model": "sh'),
        ("/v1/batches", FORM, PART),
        ("/v1/images", FORM, FILE),
        ("/v1/models/shapes/predict", FORM, PART),
        ("/v1/explanations/none/metrics", b"application/json", b'{"metr'),
    ],
)
def test_a_body_that_stops_coming_is_answered_by_408_and_the_connection_ends(
    impatient: Service, path: str, media_type: bytes, start: bytes
) -> None:
    status, body, seconds = answer_to(impatient, [head(path, media_type, 1000), start])
    assert (status, body["code"]) == (408, "request-timeout"), body
    assert "nothing more of the request's body came for 1 seconds" in body["detail"]
    assert seconds < PATIENCE_SECONDS + 10


def test_an_end_of_chunks_that_never_comes_is_not_waited_for(impatient: Service) -> None:
    fields = b"Host: here\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    whole = b"POST /v1/explanations HTTP/1.1\r\n" + fields + b"\r\n\r\n0\r\nzz\r\n"
    assert answer_to(impatient, [whole])[0] == 408


def test_a_body_may_take_longer_as_a_whole_than_each_of_its_pieces(impatient: Service) -> None:
    body = json.dumps({"model": "shapes", "image": {"id": "none"}}).encode()
    pieces = [head("/v1/explanations", b"application/json", len(body))]
    pieces += [body[place : place + 12] for place in range(0, len(body), 12)]
    assert len(pieces) * PATIENCE_SECONDS / 2 > 2 * PATIENCE_SECONDS
    connection_closes = pieces[0].replace(b"Host: here", b"Host: here\r\nConnection: close")
    status, answer, _ = answer_to(impatient, [connection_closes, *pieces[1:]], pause=PATIENCE_SECONDS / 2)
    assert (status, answer["code"]) == (422, "unknown-name"), answer


def test_who_has_sent_everything_may_be_held_for_longer(impatient: Service, star: bytes) -> None:
    with httpx2.Client(base_url=impatient.url, timeout=60) as http:
        question = {"masks": 1_000_000, "until": 1, "priority": "batch"}
        started = time.monotonic()
        answer = explain(http, star, headers={"Prefer": f"wait={3 * PATIENCE_SECONDS:.0f}"}, **question)
        assert answer.status_code == 202
        assert time.monotonic() - started >= 2 * PATIENCE_SECONDS
        here = answer.headers["Location"]
        with http.stream("GET", f"{here}/events") as stream:
            listening = time.monotonic()
            for _ in stream.iter_lines():
                if time.monotonic() - listening > 3 * PATIENCE_SECONDS:
                    break
        assert time.monotonic() - listening > 3 * PATIENCE_SECONDS, "the stream ended before"
        assert http.delete(here).is_success
