"""A proxy in front of the service for tests of clients: it hands requests on, or does something else with them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from tests.support.http_receivers import Answer, Asked, receiver

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

    def forward(came: Asked) -> Answer:
        kept = {name: text for name, text in came.headers.items() if name not in {"host", "connection"}}
        answer = httpx2.request(came.method, f"{url}{came.path}", content=came.body, headers=kept, timeout=60)
        said = {name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers}
        return Answer(answer.status_code, (answer.content,), said)

    with receiver(lambda came: instead(came, forward), port=port) as receiving:
        yield Relay(receiving.url, receiving.asked)
