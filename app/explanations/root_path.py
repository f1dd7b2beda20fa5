"""The path below which clients see the service, for the links of the request that is being answered.

It is ASGI's `root_path`, kept in a context variable as Django keeps its script prefix, because links are made in many
places, few of which know the request.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_root_path: ContextVar[str] = ContextVar("root_path", default="")


def root_path() -> str:
    """Return the path, such as `/rise`; empty where there is none, or no request."""
    return _root_path.get()


@contextmanager
def links_below(path: str) -> Iterator[None]:
    """Make links below a path until the block ends."""
    token = _root_path.set(path)
    try:
        yield
    finally:
        _root_path.reset(token)
