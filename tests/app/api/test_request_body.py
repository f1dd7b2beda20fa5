"""Forms of any length, with so many parts and no more."""

import asyncio
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from app.api.request_body import read_form


def request_with(body: bytes, **headers: str) -> Request:
    named = {"content-type": "multipart/form-data; boundary=b", "content-length": str(len(body)), **headers}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


@pytest.mark.parametrize(("size", "declared"), [(10, "no number"), (1_500_000, "1500200")])
def test_a_form_of_unknown_length_and_a_long_one_are_read(size: int, declared: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + b"a" * size + b"\r\n--b--"
    found = asyncio.run(read_form(request_with(body, **{"content-length": declared})))
    assert found == [("image", b"a" * size)]


@pytest.mark.parametrize(("kind", "most"), [("fields", 40), ("files", 1)])
def test_a_form_has_so_many_parts_and_no_more(kind: str, most: int) -> None:
    file = b'; filename="f"' if kind == "files" else b""

    def form(count: int) -> bytes:
        head = b'--b\r\nContent-Disposition: form-data; name="%d"' + file + b"\r\n\r\nx\r\n"
        return b"".join(head % number for number in range(count)) + b"--b--\r\n"

    assert len(asyncio.run(read_form(request_with(form(most))))) == most
    with pytest.raises((HTTPException, MultiPartException)):
        asyncio.run(read_form(request_with(form(most + 1))))
