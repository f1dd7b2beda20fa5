"""Server-sent events as a client reads them, by the rules of the HTML standard as far as this service uses them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2


class Event(NamedTuple):
    id: str | None
    event: str
    data: dict[str, Any]


@contextmanager
def opened(http: httpx2.Client, url: str, after: str | None = None) -> Iterator[Iterator[Event]]:
    """Open a stream and give its events as they come; comments are passed over."""
    headers = {"Last-Event-ID": after} if after else {}
    with http.stream("GET", url, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        yield _events(answer.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Event(fields.get("id"), fields["event"], json.loads(fields["data"]))
            fields = {}
