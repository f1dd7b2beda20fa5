"""Bodies that would keep the interpreter to themselves: refused before they are parsed, or read in pieces."""

import asyncio
import base64
import json
import re
import socket
from contextlib import suppress

import httpx2
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.api import base64_text
from app.api.base64_text import decode_base64
from app.api.request_body import MOST_VALUES, parse_json_object
from app.cli.uvicorn_protocol import FairH11Protocol
from app.contract.errors import RiseError
from tests.conftest import Service
from tests.support.api_requests import explain

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("path", ["/v1/explanations", "/v1/images", "/v1/batches", "/v1/models/shapes/predict"])
@pytest.mark.parametrize("items", ["1,", '{"a":1},', "[],"])
def test_json_of_more_values_than_anybody_needs_is_refused(http: httpx2.Client, path: str, items: str) -> None:
    answer = http.post(path, content='{"metrics": [' + items * (MOST_VALUES + 1) + "1]}", headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "request-too-large"), answer.text
    assert "at most 100,000 values" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/explanations", "/v1/explanations/x/metrics"])
def test_lists_in_lists_are_counted_too(http: httpx2.Client, path: str) -> None:
    content = '{"metrics": [' + ",".join(["[" * 100 + "]" * 100] * 1500) + "]}"
    answer = http.post(path, content=content, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "request-too-large"), answer.text


@pytest.mark.parametrize("content", ['{"metrics": [' + "1," * 1000 + "1]}", '{"metrics": ["' + "x" * 100_000 + '"]}'])
def test_a_question_about_a_map_is_short(http: httpx2.Client, content: str) -> None:
    answer = http.post("/v1/explanations/x/metrics", content=content, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "request-too-large"), answer.text


@pytest.mark.parametrize("colors", [[0] * 201, [[0] * 201], ["red", [[0] * 150, [0] * 150]]])
def test_a_parameter_of_more_values_than_anybody_needs_is_refused_at_once(
    http: httpx2.Client, star: bytes, colors: list[object]
) -> None:
    answer = explain(http, star, method="mc-rise", colors=json.dumps(colors))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameters"), answer.text
    assert answer.json()["errors"] == [{"field": "/colors", "detail": "at most 200 values"}]


def test_of_many_mistakes_a_few_are_told(http: httpx2.Client, star: bytes) -> None:
    answer = explain(http, star, method="mc-rise", colors=json.dumps([0] * 150))
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20
    assert len(answer.content) < 10_000


def test_as_many_values_as_are_allowed_are_read() -> None:
    content = json.dumps({"a": list(range(MOST_VALUES - 2)), "b": ""}, separators=(",", ":")).encode()
    assert len(parse_json_object(content)["a"]) == MOST_VALUES - 2
    with pytest.raises(RiseError):
        parse_json_object(content.replace(b'"b"', b'"c":1,"b"'))


DATA_URLS = ["", "data:image/png;base64,", "data:;charset=x;base64,"]
NOT_BASE64 = ["%", "A", "AAAAA", "AA==AAAA", "AAA=AAAA", "AA=A", "A===", "ä", "data:image/png,AAAA"]


@given(st.binary(max_size=60))
def test_base64_in_pieces_is_base64(content: bytes) -> None:
    text = base64.b64encode(content).decode()
    before, base64_text._CHUNK = base64_text._CHUNK, 8
    try:
        assert decode_base64(text) == content
    finally:
        base64_text._CHUNK = before


@given(st.binary(max_size=60), st.sampled_from(DATA_URLS), st.booleans())
def test_base64_may_be_a_data_url_unpadded_url_safe_and_broken_into_lines(
    content: bytes, prefix: str, unpadded: bool
) -> None:
    text = base64.urlsafe_b64encode(content).decode()
    text = text.rstrip("=") if unpadded else text
    assert decode_base64(prefix + "\r\n ".join(text[place : place + 5] for place in range(0, len(text), 5))) == content


@pytest.mark.parametrize("text", NOT_BASE64)
def test_what_is_not_base64_is_refused_in_pieces_too(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for piece in (4, 8, base64_text._CHUNK):
        monkeypatch.setattr(base64_text, "_CHUNK", piece)
        with pytest.raises(ValueError, match=re.compile(".")):
            decode_base64(text)


@pytest.mark.parametrize("begin", [b"", b"Transfer-Encoding: chunked\r\n\r\n0\r\n"], ids=["headers", "trailers"])
def test_headers_and_trailers_without_end_end_the_connection(service: Service, begin: bytes) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as client, suppress(ConnectionError):
        client.sendall(b"POST /v1/explanations HTTP/1.1\r\nHost: here\r\n" + begin)
        client.sendall((b"X: " + b"a" * 1000 + b"\r\n") * 1000)
        while client.recv(10_000):  # until the end of the connection; a timeout fails the test
            pass


@pytest.mark.parametrize("length", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_the_server_reads_a_little_at_a_time(length: str) -> None:
    sizes: list[int] = []

    class Noting(FairH11Protocol):
        def data_received(self, data: bytes) -> None:
            sizes.append(len(data))
            super().data_received(data)

    async def take(_: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b""})

    async def run() -> None:
        config = uvicorn.Config(take, log_level="critical", lifespan="off")
        config.load()
        state = ServerState()

        def connect() -> Noting:
            return Noting(config, state, {})

        server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        body = b"7\r\nseventy\r\n" * 80_000 + b"0\r\n\r\n" if "chunked" in length else bytes(1_000_000)
        writer.write(f"POST / HTTP/1.1\r\nHost: here\r\n{length}\r\n\r\n".encode() + body)
        assert b" 204 " in await reader.read(-1)
        writer.close()
        server.close()

    asyncio.run(run())
    assert max(sizes) == 32_768
