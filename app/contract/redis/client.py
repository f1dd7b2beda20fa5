"""Redis clients of every process.

A URL is `redis://`, `rediss://` (TLS), `unix://`, or names Sentinels (`sentinel.py`). Its query has redis-py's options,
such as `ssl_ca_certs`.

Connections have no health check before use (redis-py's `health_check_interval`), because a server that cannot write to
its disk refuses PING too, and could not be read from any more. Broken connections are retried, and TCP keep-alive,
which redis-py switches on, finds peers that are gone.
"""

import threading

from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.connection import ConnectionPool

from app.contract.redis.retry import (
    SHORT_SECONDS,
    AsyncDeadlineRetry,
    DeadlineRetry,
    describe_error,
    is_connection_error,
    is_transient,
)
from app.contract.redis.sentinel import is_sentinel_url, master_pool, master_pool_async, read_sentinel_url

__all__ = ["connect", "connect_async", "connect_with_retry", "describe_error"]

_CONNECTIONS = 16  # of one event loop; further calls wait for a free one, because calls are short
_ANSWER_SECONDS = 30.0


def connect(url: str, *, seconds: float = SHORT_SECONDS, answer_seconds: float | None = None) -> "Redis":
    """Return a client that survives a short restart of the server. Replies are bytes, as RQ requires.

    Args:
        url: of the server.
        seconds: how long calls are retried after the first failure.
        answer_seconds: timeout to connect and of a reply; None for redis-py's.
    """
    timeouts = {name: answer_seconds for name in ("socket_timeout", "socket_connect_timeout") if answer_seconds}
    return _client(url, DeadlineRetry(seconds, is_connection_error), **timeouts)


def connect_with_retry(url: str, *, seconds: float, stopping: threading.Event) -> "Redis":
    """Return a client for workers, whose calls are retried for as long as a server is unavailable.

    Args:
        url: of the server.
        seconds: how long; also for a server that answers but accepts no writes.
        stopping: once set, calls are retried for no longer than a short restart.
    """
    return _client(url, DeadlineRetry(seconds, is_transient, stopping))


def _client(url: str, retry: DeadlineRetry, **timeouts: float | None) -> "Redis":
    if is_sentinel_url(url):
        pool: ConnectionPool = master_pool(read_sentinel_url(url), retry=retry, **timeouts)
    else:
        pool = ConnectionPool.from_url(url, retry=retry, **timeouts)
    return Redis.from_pool(pool)


def connect_async(url: str) -> "AsyncRedis":
    """Return such a client for code on the event loop."""
    retry = AsyncDeadlineRetry(SHORT_SECONDS, is_connection_error)
    if is_sentinel_url(url):
        pool = master_pool_async(
            read_sentinel_url(url),
            max_connections=_CONNECTIONS,
            timeout=_ANSWER_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            retry=retry,
        )
    else:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_ANSWER_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            retry=retry,
        )
    return AsyncRedis.from_pool(pool)
