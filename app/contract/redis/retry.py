"""How long a process waits for a Redis server that is away, loads its data, fails over or refuses writes.

redis-py tries again at two levels, to connect and to send; whatever is tried again inside is not tried again outside,
so that the time given here is the time that is taken.
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

SHORT_SECONDS = 5.0  # a server that restarts is back by then

_FOR_EVER = 1_000_000_000
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

_TRYING = ContextVar("trying", default=False)  # of a thread, or of a task of an event loop


class DeadlineRetry(Retry):
    """Tries again what passes by itself, until a time is up.

    Args:
        seconds: how long, from the first failure on.
        passes: whether an error is one that passes by itself.
        stopping: once set, no more than a short restart is waited for.
    """

    def __init__(
        self, seconds: float, passes: Callable[[RedisError], bool], stopping: threading.Event | None = None
    ) -> None:
        super().__init__(ExponentialBackoff(cap=1.0, base=0.05), _FOR_EVER, (RedisError,))
        self._seconds = seconds
        self._passes = passes
        self._stopping = stopping or threading.Event()

    def __deepcopy__(self, _: Any) -> "DeadlineRetry":
        """Return itself: every connection asks for a copy, and there is nothing in it that changes."""
        return self

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Return what an attempt returns; redis-py's signature.

        Raises:
            RedisError: the last one, when the time is up; or at once, if it does not pass by itself.
        """
        failures = _RetryState(self._backoff, self._passes, self._limit)
        with _outermost() as may_wait:
            while True:
                try:
                    return do()
                except RedisError as error:
                    number = failures.count(error, is_retryable)
                    fail(error, number) if with_failure_count else fail(error)
                    time.sleep(failures.pause(error, may_wait))

    def _limit(self) -> float:
        return min(self._seconds, SHORT_SECONDS) if self._stopping.is_set() else self._seconds


class AsyncDeadlineRetry(AsyncRetry):
    """The same for code on the event loop.

    Args:
        seconds: how long, from the first failure on.
        passes: whether an error is one that passes by itself.
    """

    def __init__(self, seconds: float, passes: Callable[[RedisError], bool]) -> None:
        super().__init__(ExponentialBackoff(cap=1.0, base=0.05), _FOR_EVER, (RedisError,))
        self._seconds = seconds
        self._passes = passes

    def __deepcopy__(self, _: Any) -> "AsyncDeadlineRetry":
        """Return itself: every connection asks for a copy, and there is nothing in it that changes."""
        return self

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Return what an attempt returns; redis-py's signature.

        Raises:
            RedisError: the last one, when the time is up; or at once, if it does not pass by itself.
        """
        failures = _RetryState(self._backoff, self._passes, lambda: self._seconds)
        with _outermost() as may_wait:
            while True:
                try:
                    return await do()
                except RedisError as error:
                    number = failures.count(error, is_retryable)
                    await (fail(error, number) if with_failure_count else fail(error))
                    await asyncio.sleep(failures.pause(error, may_wait))


class _RetryState:
    """The failures of one call."""

    def __init__(self, backoff: Any, passes: Callable[[RedisError], bool], seconds: Callable[[], float]) -> None:
        self._backoff = backoff
        self._passes = passes
        self._seconds = seconds
        self._number = 0
        self._began = 0.0

    def count(self, error: RedisError, is_retryable: Callable[[Exception], bool] | None) -> int:
        """Return how many there are with this one, or raise it if it does not pass by itself."""
        if not self._passes(error) or (is_retryable and not is_retryable(error)):
            raise error
        self._number += 1
        return self._number

    def pause(self, error: RedisError, may_wait: bool) -> float:
        """Return the seconds until the next attempt, or raise the error if there is none."""
        seconds: float = self._backoff.compute(self._number)
        self._began = self._began or time.monotonic()
        if not may_wait or time.monotonic() + seconds > self._began + self._seconds():
            raise error
        return seconds


@contextmanager
def _outermost() -> Iterator[bool]:
    """Give whether nothing is being tried again here yet."""
    if _TRYING.get():
        yield False
        return
    token = _TRYING.set(True)
    try:
        yield True
    finally:
        _TRYING.reset(token)


def is_connection_error(error: RedisError) -> bool:
    """Return whether a connection broke, or leads to a server that is not the right one any more."""
    denied = isinstance(error, AuthenticationError | AuthorizationError)
    return isinstance(error, ConnectionError | TimeoutError | ReadOnlyError) and not denied


def is_transient(error: RedisError) -> bool:
    """Return whether a connection broke, or the server refuses for a reason that its operator will see to."""
    return is_connection_error(error) or _code(error) in {"OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN"}


def describe_error(error: RedisError) -> str:
    """Return what an error means, in words without addresses."""
    return _MEANINGS.get(_code(error), "Redis does not answer")


def _code(error: RedisError) -> str:
    """Return the word with which the server began its refusal; of a pipeline's too, whose words come later."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    words = str(error) if isinstance(error, ResponseError) else ""
    return next((code for code in _MEANINGS if f" {code} " in f" {words} "), "")
