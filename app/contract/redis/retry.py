"""Retry policies for a Redis server that is unavailable, loads its data, fails over or refuses writes.

redis-py's own `Retry` counts attempts and selects errors by their class. These have a deadline, because an attempt that
times out takes 30 s, and select errors by their code as well: MISCONF and NOREPLICAS have no class, and an
`AuthenticationError` is a `ConnectionError`. redis-py retries at two levels, to connect and to send; what is retried
inside is not retried outside, so that the deadline holds.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

T = TypeVar("T")

SHORT_SECONDS = 5.0  # a server restarts in less

_UNLIMITED = 1_000_000_000
_MEANINGS = {
    "OOM": "Redis is out of memory",
    "MISCONF": "Redis cannot write to its disk",
    "NOREPLICAS": "Redis has too few replicas to accept writes",
    "READONLY": "Redis accepts no writes now",
    "MASTERDOWN": "Redis fails over",
    "LOADING": "Redis is loading its data",
    "NOPERM": "Redis does not permit what this service needs",
}
_CODES: dict[type[RedisError], str] = {
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    MasterDownError: "MASTERDOWN",
    BusyLoadingError: "LOADING",
    NoPermissionError: "NOPERM",
}

_RETRYING = ContextVar("retrying", default=False)  # of a thread, or of a task of an event loop


class DeadlineRetry(Retry):
    """Retries transient errors until a deadline.

    Args:
        seconds: how long, from the first failure on.
        is_transient: whether an error is retried.
        stopping: once set, calls are retried for at most `SHORT_SECONDS`.
    """

    def __init__(
        self, seconds: float, is_transient: Callable[[RedisError], bool], stopping: threading.Event | None = None
    ) -> None:
        super().__init__(ExponentialBackoff(cap=1.0, base=0.05), _UNLIMITED, (RedisError,))
        self._seconds = seconds
        self._is_transient = is_transient
        self._stopping = stopping or threading.Event()

    def __deepcopy__(self, _: Any) -> "DeadlineRetry":
        """Return itself, because it is immutable and every connection copies it."""
        return self

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Call `do` until it succeeds; redis-py's signature.

        Raises:
            RedisError: the last one, at the deadline; at once if it is not transient.
        """
        failures = _RetryState(self._backoff, self._is_transient, self._limit)
        with _outermost() as is_outermost:
            while True:
                try:
                    return do()
                except RedisError as error:
                    number = failures.count(error, is_retryable)
                    fail(error, number) if with_failure_count else fail(error)
                    time.sleep(failures.pause(error, is_outermost))

    def _limit(self) -> float:
        return min(self._seconds, SHORT_SECONDS) if self._stopping.is_set() else self._seconds


class AsyncDeadlineRetry(AsyncRetry):
    """The same policy for code on the event loop.

    Args:
        seconds: how long, from the first failure on.
        is_transient: whether an error is retried.
    """

    def __init__(self, seconds: float, is_transient: Callable[[RedisError], bool]) -> None:
        super().__init__(ExponentialBackoff(cap=1.0, base=0.05), _UNLIMITED, (RedisError,))
        self._seconds = seconds
        self._is_transient = is_transient

    def __deepcopy__(self, _: Any) -> "AsyncDeadlineRetry":
        """Return itself, because it is immutable and every connection copies it."""
        return self

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Call `do` until it succeeds; redis-py's signature.

        Raises:
            RedisError: the last one, at the deadline; at once if it is not transient.
        """
        failures = _RetryState(self._backoff, self._is_transient, lambda: self._seconds)
        with _outermost() as is_outermost:
            while True:
                try:
                    return await do()
                except RedisError as error:
                    number = failures.count(error, is_retryable)
                    await (fail(error, number) if with_failure_count else fail(error))
                    await asyncio.sleep(failures.pause(error, is_outermost))


class _RetryState:
    """The failures of one call."""

    def __init__(self, backoff: Any, is_transient: Callable[[RedisError], bool], seconds: Callable[[], float]) -> None:
        self._backoff = backoff
        self._is_transient = is_transient
        self._seconds = seconds
        self._number = 0
        self._began = 0.0

    def count(self, error: RedisError, is_retryable: Callable[[Exception], bool] | None) -> int:
        """Return the number of failures with this one; raise it if it is not transient."""
        if not self._is_transient(error) or (is_retryable and not is_retryable(error)):
            raise error
        self._number += 1
        return self._number

    def pause(self, error: RedisError, is_outermost: bool) -> float:
        """Return the seconds until the next attempt; raise the error at the deadline."""
        seconds: float = self._backoff.compute(self._number)
        self._began = self._began or time.monotonic()
        if not is_outermost or time.monotonic() + seconds > self._began + self._seconds():
            raise error
        return seconds


@contextmanager
def _outermost() -> Iterator[bool]:
    """Yield whether no call is being retried here yet."""
    if _RETRYING.get():
        yield False
        return
    token = _RETRYING.set(True)
    try:
        yield True
    finally:
        _RETRYING.reset(token)


def is_connection_error(error: RedisError) -> bool:
    """Return whether a connection broke, or leads to a server that is not the right one any more."""
    denied = isinstance(error, AuthenticationError | AuthorizationError)
    return isinstance(error, ConnectionError | TimeoutError | ReadOnlyError) and not denied


def is_transient(error: RedisError) -> bool:
    """Return whether a connection broke, or the server refuses for a reason that passes or that its operator mends."""
    return is_connection_error(error) or _code(error) in {"OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN"}


def describe_error(error: RedisError) -> str:
    """Return what an error means, without addresses."""
    return _MEANINGS.get(_code(error), "Redis does not answer")


def _code(error: RedisError) -> str:
    """Return the error code of the server; that of a pipeline stands further behind in its message."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    words = str(error) if isinstance(error, ResponseError) else ""
    return next((code for code in _MEANINGS if f" {code} " in f" {words} "), "")
