"""A proxy in front of the service for tests of clients: it hands requests on, or does something else with them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2

from tests.receivers import Answer, Asked

Forward = Callable[[Asked], Answer]
BUSY = Answer(503, (b'{"code": "overloaded", "detail": "later"}',), {"Content-Type": "application/problem+json"})
BAD_GATEWAY = Answer(502, (b"<h1>Bad Gateway</h1>",), {"Content-Type": "text/html"})
LOST = Answer(0)
"""No answer: the connection is closed."""


@dataclass
class Relay:
    """A running proxy.

    Attributes:
        asked: what came.
    """

    url: str
    asked: list[Asked]

    def times(self, method: str, ending: str) -> int:
        """Return how often it was asked so of a path with this ending."""
        paths = [came.path.partition("?")[0] for came in self.asked if came.method == method]
        return sum(path.endswith(ending) for path in paths)


@contextmanager
def relay(url: str, instead: Callable[[Asked, Forward], Answer], *, port: int = 0) -> Iterator[Relay]:
    """Relay to a service at `url` what `instead` hands on, from a port of loopback; 0 takes a free one."""
    asked: list[Asked] = []

    def forward(came: Asked) -> Answer:
        kept = {name: text for name, text in came.headers.items() if name not in {"host", "connection"}}
        answer = httpx2.request(came.method, f"{url}{came.path}", content=came.body, headers=kept, timeout=60)
        said = {name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers}
        return Answer(answer.status_code, (answer.content,), said)

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            came = Asked(self.command, self.path, {name.lower(): text for name, text in self.headers.items()}, body)
            asked.append(came)
            said = instead(came, forward)
            if said.status == LOST.status:
                return
            self.send_response(said.status)
            for name, text in said.headers.items():
                self.send_header(name, text)
            self.end_headers()
            for part in said.parts:
                self.wfile.write(part)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield Relay(f"http://127.0.0.1:{server.server_address[1]}", asked)
        server.shutdown()
        thread.join()
