"""Failures of a model's server, with its name before what was wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

from workers.blackbox import BlackBoxError
from workers.remote.http.url import shown


class PermanentServerError(BlackBoxError):
    """A server says that a request is not what it takes: there is no use in sending it again."""


@contextmanager
def server_context(url: str) -> Iterator[None]:
    """Put a server's address before the words of whatever makes no sense of its answer.

    Raises:
        BlackBoxError: "http://host/... gave NaN".
    """
    try:
        yield
    except BlackBoxError:
        raise
    except (ValueError, RuntimeError, IndexError) as cause:  # because tensors that do not fit raise any of these
        raise BlackBoxError(f"{shown(url)} {cause}") from cause
