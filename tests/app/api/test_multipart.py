"""Forms read in one piece are what Starlette's parser makes of them."""

import asyncio
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from app.api.multipart import FormPart, parse_simple_multipart, read_form

_TYPE = "multipart/form-data; boundary=b"
_JUNK = st.lists(
    st.sampled_from([b"\r\n", b"--b", b"--", b"-", b"\r", b"\n", b"b", b"a", b"\xff", b'"', b";", b"\0", b"\xc3\xa9"]),
    max_size=12,
).map(b"".join)
_HEADS = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="a"',
        b'content-disposition: form-data; name="b_2"',
        b'Content-Disposition: form-data; name="image"; filename="a b.jpg"\r\nContent-Type: image/jpeg',
        b'Content-Disposition: form-data; name="image"; filename=""',
        b'Content-Disposition: form-data; name="c"\r\nContent-Type: text/plain',
        b'Content-Disposition: form-data; name="c"\r\nX: y',
        b'Content-Disposition: form-data; name="c"; filename*=x',
        b'Content-Disposition: form-data; filename="x"; name="c"',
        b"Content-Disposition: form-data; name=c",
        b"Content-Disposition: form-data",
        b"",
    ]
)
_PIECES = st.tuples(_HEADS, st.sampled_from([b"\r\n\r\n", b"\r\n", b"\n\n"]), _JUNK).map(b"".join)


def request_with(body: bytes, content_type: str = _TYPE, **headers: str) -> Request:
    named = {"content-type": content_type, "content-length": str(len(body)), **headers}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


async def starlettes(request: Request) -> list[FormPart]:
    async with request.form(max_files=1, max_fields=40, max_part_size=1_000_000) as form:
        return [
            FormPart(name, await value.read() if isinstance(value, UploadFile) else value)
            for name, value in form.multi_items()
        ]


@settings(max_examples=1500, deadline=None)
@given(st.lists(_PIECES, max_size=4), st.sampled_from([b"--\r\n", b"--", b"", b"--\r\nmore"]), _JUNK)
def test_what_is_read_in_one_piece_is_what_starlette_reads(pieces: list[bytes], end: bytes, before: bytes) -> None:
    for body in (b"".join(b"--b\r\n" + piece + b"\r\n" for piece in pieces) + b"--b" + end, before):
        found = parse_simple_multipart(_TYPE, body)
        if found is not None:
            assert found == asyncio.run(starlettes(request_with(body)))


@pytest.mark.parametrize("size", [0, 200_000])
def test_what_clients_send_is_read_in_one_piece(size: int) -> None:
    content = bytes(range(256)) * (size // 256)
    form = {"model": "shapes", "targets": '[{"label": "é"}]', "seed": "1"}
    sent = httpx2.Request("POST", "http://a/", data=form, files={"image": ("ä.jpg", content, "image/jpeg")})
    expected = [*(FormPart(name, text) for name, text in form.items()), FormPart("image", content)]
    assert parse_simple_multipart(sent.headers["content-type"], sent.read()) == expected


def test_a_form_of_unknown_length_and_a_long_one_are_read_too() -> None:
    for size, declared in ((10, "no number"), (1_500_000, str(1_500_200))):
        body = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + b"a" * size + b"\r\n--b--"
        found = asyncio.run(read_form(request_with(body, **{"content-length": declared})))
        assert found == [FormPart("image", b"a" * size)]


@pytest.mark.parametrize("kind", ["fields", "files"])
def test_a_form_has_so_many_parts_and_no_more(kind: str) -> None:
    most = {"fields": 40, "files": 1}[kind]
    file = b'; filename="f"' if kind == "files" else b""

    def form(count: int) -> bytes:
        head = b'--b\r\nContent-Disposition: form-data; name="%d"' + file + b"\r\n\r\nx\r\n"
        return b"".join(head % number for number in range(count)) + b"--b--\r\n"

    assert len(asyncio.run(read_form(request_with(form(most))))) == most
    with pytest.raises((HTTPException, MultiPartException)):
        asyncio.run(read_form(request_with(form(most + 1))))
