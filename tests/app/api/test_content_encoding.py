"""Compressed bodies: what clients send as gzip, with the limits of what it inflates to; what is sent back, its tag."""

import gzip
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.types import Message

from app.api.middleware.content_encoding import InflatedBody
from app.contract.settings import Settings
from app.main import create_app
from tests.conftest import Service
from tests.support.api_requests import explain

GZIP = {"Content-Encoding": "gzip"}
JSON = {"Content-Type": "application/json"}


def received(pieces: list[bytes]) -> list[bytes]:
    """Return the pieces in which a gzip body of some pieces is read."""
    messages = iter(enumerate(pieces, 1))

    async def receive() -> Message:
        number, body = next(messages)
        return {"type": "http.request", "body": body, "more_body": number < len(pieces)}

    inflated, found = InflatedBody(receive), []
    while True:
        try:
            inflated().send(None)
        except StopIteration as done:
            found.append(done.value["body"])
            if not done.value["more_body"]:
                return found


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 40))
def test_a_body_of_several_members_in_pieces_of_any_size_is_inflated(members: list[bytes], size: int) -> None:
    packed = b"".join(gzip.compress(member) for member in members)
    pieces = [packed[place : place + size] for place in range(0, len(packed), size)] or [b""]
    assert b"".join(received(pieces)) == b"".join(members)


def test_a_small_body_that_inflates_to_a_large_one_comes_in_small_pieces() -> None:
    pieces = received([gzip.compress(bytes(20_000_000))])
    assert sum(map(len, pieces)) == 20_000_000
    assert max(map(len, pieces)) <= 65_536


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"a" * 1000)[:-9], gzip.compress(b"a") + b"more", b"\x1f"],
    ids=["no gzip", "cut short", "more after it", "one byte"],
)
def test_what_is_not_whole_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(HTTPException) as caught:
        received([body])
    assert caught.value.status_code == 400


def test_a_form_as_gzip_is_the_same_request(http: httpx2.Client, star: bytes) -> None:
    plain = explain(http, star, masks=128, until=1, seed=841)
    request = http.build_request(
        "POST",
        "/v1/explanations",
        files={"image": star},
        data={"model": "shapes", "masks": "128", "until": "1", "seed": "841"},
    )
    headers = {"Content-Type": request.headers["content-type"], **GZIP}
    packed = http.post("/v1/explanations", content=gzip.compress(request.read()), headers=headers)
    assert (packed.status_code, packed.json()["id"]) == (200, plain.json()["id"])


@pytest.fixture
def small(tmp_path: Path, valkey: str) -> Iterator[TestClient]:
    """A front end without workers, for images of at most 100 kB."""
    settings = Settings(data=tmp_path, redis_url=valkey, max_image_bytes=100_000, max_batch_bytes=100_000)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def test_limits_are_those_of_the_inflated_body(small: TestClient) -> None:
    bomb = gzip.compress(b'{"image": "' + bytes(50_000_000) + b'"}')
    for path in ("/v1/explanations", "/v1/images", "/v1/batches", "/v1/models/shapes/predict"):
        answer = small.post(path, content=bomb, headers={**JSON, **GZIP})
        assert (answer.status_code, answer.json()["code"]) == (413, "request-too-large"), path


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip", "gzip, br"])
def test_other_codings_are_refused_with_those_that_are_read(small: TestClient, coding: str) -> None:
    answer = small.post("/v1/explanations", content=b"x", headers={**JSON, "Content-Encoding": coding})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
    assert answer.headers["accept-encoding"] == "identity, gzip"


def test_a_body_that_is_no_gzip_is_a_problem_of_the_request(small: TestClient) -> None:
    answer = small.post("/v1/explanations", content=b"{}", headers={**JSON, **GZIP})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    assert "gzip" in answer.json()["detail"]


def curl(*arguments: str) -> bytes:
    command = [shutil.which("curl") or "curl", "--silent", "--show-error", "--fail", *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_curl_gets_documents_compressed_and_pictures_as_they_are(
    service: Service, http: httpx2.Client, star: bytes
) -> None:
    links = explain(http, star, masks=128, until=1, seed=841).json()["targets"][0]["links"]
    for path, coding in (("/openapi.json", "gzip"), ("/docs/swagger-ui-bundle.js", "gzip"), (links["npy"], None)):
        plain = curl(service.url + path)
        assert curl("--compressed", service.url + path) == plain
        head = curl("--compressed", "--head", service.url + path).decode().lower()
        assert ("content-encoding: gzip" in head) == (coding == "gzip"), head
    headed: Any = curl("--compressed", "--include", service.url + links["png"])
    assert b"content-encoding" not in headed.lower()
    assert io.BytesIO(curl(service.url + links["npy"])).read(6) == b"\x93NUMPY"


def test_events_are_not_held_back_by_compression(http: httpx2.Client, star: bytes) -> None:
    here = explain(http, star, masks=128, until=1, seed=841).json()["links"]["self"]
    with http.stream("GET", f"{here}/events", headers={"Accept-Encoding": "gzip"}) as answer:
        assert "content-encoding" not in answer.headers
        assert json.loads(next(line for line in answer.iter_lines() if line.startswith("data:"))[5:])["id"] in here


def test_a_compressed_answer_has_a_weak_tag_and_either_tag_is_answered_by_304(http: httpx2.Client, star: bytes) -> None:
    made = explain(http, star, masks=128, until=1, seed=841).json()
    script = re.search(r"assets/\w+/main\.js", http.get("/", headers={"Accept": "text/html"}).text)
    assert script
    json_map = made["targets"][0]["links"]["json"]
    for path in (made["links"]["self"], json_map, f"/{script[0]}", "/docs/swagger-ui-bundle.js"):
        plain, packed = (http.get(path, headers={"Accept-Encoding": coding}) for coding in ("identity", "gzip"))
        assert (plain.headers["etag"][0], packed.headers["content-encoding"]) == ('"', "gzip")
        assert packed.headers["etag"] == f"W/{plain.headers['etag']}"
        for coding, tag in product(("identity", "gzip"), (plain.headers["etag"], packed.headers["etag"])):
            again = http.get(path, headers={"Accept-Encoding": coding, "If-None-Match": tag})
            assert (again.status_code, again.content) == (304, b""), (path, coding, tag)


def test_a_304_names_the_copy_that_it_confirms(http: httpx2.Client, star: bytes) -> None:
    path = explain(http, star, masks=128, until=1, seed=841).json()["targets"][0]["links"]["json"]
    for coding in ("identity", "gzip"):
        whole = http.get(path, headers={"Accept-Encoding": coding})
        copies = [("If-None-Match", '"other"'), ("If-None-Match", whole.headers["etag"])]
        again = http.get(path, headers=[("Accept-Encoding", coding), *copies])
        assert (again.status_code, again.headers["etag"]) == (304, whole.headers["etag"])
    assert (again.headers["vary"], whole.headers["vary"]) == ("Accept, Accept-Encoding", "Accept, Accept-Encoding")


def test_what_is_not_compressed_keeps_its_strong_tag(http: httpx2.Client, star: bytes) -> None:
    links = explain(http, star, masks=128, until=1, seed=841).json()["targets"][0]["links"]
    for path in (links["npy"], links["png"]):
        tag = http.get(path, headers={"Accept-Encoding": "gzip"}).headers["etag"]
        assert tag.startswith('"')
        again = http.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": tag})
        assert (again.status_code, again.headers["etag"]) == (304, tag)


def test_no_range_of_plain_bytes_is_sent_to_a_client_that_has_compressed_ones(http: httpx2.Client) -> None:
    path, plain, packed = "/docs/swagger-ui-bundle.js", {"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip"}
    for coding, status in ((plain, 206), (packed, 200)):
        tag = http.get(path, headers=coding).headers["etag"]
        assert http.get(path, headers={**coding, "Range": "bytes=9-", "If-Range": tag}).status_code == status
