"""Bodies that would keep the interpreter to themselves: refused before they are parsed, or read in pieces."""

import asyncio
import base64
import json
import re
import socket
from contextlib import suppress

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import base64_text
from app.base64_text import decoded
from app.bodies import MOST_VALUES, read_object
from app.connections import Connection
from app.contract.errors import RiseError

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "path", ["/v1/explanations", "/v1/images", "/v1/batches", "/v1/models/shapes/predict", "/v1/explanations/x/metrics"]
)
@pytest.mark.parametrize("items", ["1,", '{"a":1},', "[],"])
def test_json_of_more_values_than_anybody_needs_is_refused(http: httpx2.Client, path: str, items: str) -> None:
    answer = http.post(path, content='{"metrics": [' + items * (MOST_VALUES + 1) + "1]}", headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "request-too-large"), answer.text
    assert "at most 100,000 values" in answer.json()["detail"]


def test_as_many_values_as_are_allowed_are_read() -> None:
    content = json.dumps({"a": list(range(MOST_VALUES)), "b": ""}, separators=(",", ":")).encode()
    assert len(read_object(content)["a"]) == MOST_VALUES
    with pytest.raises(RiseError):
        read_object(content.replace(b'"b"', b'"c":1,"b"'))


@given(st.binary(max_size=60))
def test_base64_in_pieces_is_base64(content: bytes) -> None:
    text = base64.b64encode(content).decode()
    before, base64_text._PIECE = base64_text._PIECE, 8
    try:
        assert decoded(text) == content
    finally:
        base64_text._PIECE = before


@pytest.mark.parametrize("text", ["%", "AAA", "AA==AAAA", "AAA=AAAA", "AAAA\n", "AAAA ", "A===", "ä"])
def test_what_is_not_base64_is_refused_in_pieces_too(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for piece in (4, 8, base64_text._PIECE):
        monkeypatch.setattr(base64_text, "_PIECE", piece)
        with pytest.raises(ValueError, match=re.compile(".")):
            decoded(text)


def test_the_server_reads_a_connection_a_little_at_a_time() -> None:
    sizes: list[int] = []

    class Noting(Connection):
        def __init__(self) -> None:
            pass

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            with suppress(AttributeError):  # because nothing else of the server is here
                super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            sizes.append(len(data))

        def connection_lost(self, exc: Exception | None) -> None:
            pass

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Noting, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with socket.create_connection(address) as client:
            await asyncio.to_thread(client.sendall, bytes(1_000_000))
        while sum(sizes) < 1_000_000:
            await asyncio.sleep(0.01)
        server.close()

    asyncio.run(run())
    assert max(sizes) <= 65_536
