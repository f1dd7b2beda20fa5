"""Connections to Redis: one way to make them, for every process."""

from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

_CONNECTIONS = 16  # of one event loop; whoever finds them all taken waits for a moment, because calls there are short
_ANSWER_SECONDS = 30.0
_RETRIED = [ConnectionError, TimeoutError]


def connect(url: str) -> "Redis":
    """Return a client that survives a short restart of the server. Replies are bytes, as RQ wants them."""
    return Redis.from_url(
        url, retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 6), retry_on_error=_RETRIED, health_check_interval=30
    )


def connect_async(url: str) -> "AsyncRedis":
    """Return a client for code on the event loop, used to wait for changes."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_ANSWER_SECONDS,
        health_check_interval=30,
        socket_timeout=_ANSWER_SECONDS,
    )
    return AsyncRedis.from_pool(pool)
