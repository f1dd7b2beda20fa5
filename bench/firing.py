"""A load generator that costs little: requests made beforehand, written to a few connections that stay open."""

import asyncio
import re
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

_CONNECTIONS = 8
_BOUNDARY = "0123456789abcdef0123456789abcdef"  # as long as clients make them
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


def rate(url: str, requests: list[bytes]) -> float:
    """Return how many requests a second are answered by 2xx.

    Raises:
        AssertionError: if one is answered otherwise.
    """
    return asyncio.run(_rate(url, requests))


async def _rate(url: str, requests: list[bytes]) -> float:
    left, started = iter(requests), time.perf_counter()
    await asyncio.gather(*(_fire(url, left) for _ in range(_CONNECTIONS)))
    return len(requests) / (time.perf_counter() - started)


async def _fire(url: str, left: Iterator[bytes]) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    for request in left:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        found = _LENGTH.search(head)
        body = await reader.readexactly(int(found[1]) if found else 0)
        assert head.startswith(b"HTTP/1.1 2"), head + body
    writer.close()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode()


def post_form(path: str, fields: dict[str, str], image: bytes) -> bytes:
    """Return a form with an image."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{fields[name]}\r\n' for name in fields
    ]
    parts.append(f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n')
    body = "".join(parts).encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
