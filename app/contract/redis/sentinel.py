"""Redis behind Sentinels: `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DATABASE?OPTIONS`.

User and password are those of the Redis servers; `sentinel_username` and `sentinel_password` those of the Sentinels.
`rediss+sentinel` speaks TLS with both. The other options are redis-py's, as in `redis://`.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.connection import SSLConnection as AsyncSSLConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelPool
from redis.asyncio.sentinel import SentinelManagedConnection as AsyncSentinelConnection
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, SSLConnection, parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

_PORT = 26379
_SENTINEL_SECONDS = 1.0  # and no retry, because there are other Sentinels: redis-py tries each eleven times


@dataclass(frozen=True)
class SentinelUrl:
    """A Redis service that Sentinels monitor.

    Attributes:
        sentinels: host and port of each.
        service: its name there.
        options: of connections to the Redis server.
        sentinel_options: of connections to the Sentinels.
        secure: whether the Redis server speaks TLS.
    """

    sentinels: tuple[tuple[str, int], ...]
    service: str
    options: dict[str, Any]
    sentinel_options: dict[str, Any]
    secure: bool


class _MasterConnection(SentinelManagedConnection):
    """Asks for the present master each time that it connects.

    redis-py asks only for a connection that it takes from the pool: a command that broke with its master is sent to the
    same address again, for as long as it is retried (redis-py issue 3874), or is lost with a master that comes back.
    """

    def _connect_retry(self) -> None:
        self.connect_check_health(check_health=self.connection_pool.check_connection)

    def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = False) -> None:  # noqa: ARG002 - the whole is retried
        if not self.is_connected:
            self.host, self.port = self.connection_pool.get_master_address()
        super().connect_check_health(check_health=check_health, retry_socket_connect=False)


class _MasterSSLConnection(_MasterConnection, SSLConnection):
    """The same over TLS."""


class _AsyncMasterConnection(AsyncSentinelConnection):
    """The same for an event loop."""

    async def _connect_retry(self) -> None:
        await self.connect_check_health(check_health=self.connection_pool.check_connection)

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = False) -> None:  # noqa: ARG002
        if not self.is_connected:
            self.host, self.port = await self.connection_pool.get_master_address()
        await super().connect_check_health(check_health=check_health, retry_socket_connect=False)


class _AsyncMasterSSLConnection(_AsyncMasterConnection, AsyncSSLConnection):
    """The same over TLS for an event loop."""


class _BlockingSentinelPool(AsyncSentinelPool, BlockingConnectionPool):
    """Connections to the present master; a call waits while all are in use."""


# Any, because redis-py has not typed what makes them.
_SENTINEL: Any = Sentinel
_POOL: Any = SentinelConnectionPool
_ASYNC_SENTINEL: Any = AsyncSentinel
_ASYNC_POOL: Any = _BlockingSentinelPool


def is_sentinel_url(url: str) -> bool:
    """Return whether a URL names Sentinels."""
    return url.startswith(("redis+sentinel://", "rediss+sentinel://"))


def read_sentinel_url(url: str) -> SentinelUrl:
    """Parse a URL.

    Raises:
        ValueError: for the operator.
    """
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    credentials, _, hosts = parts.netloc.rpartition("@")
    if not service or not hosts or (database and not database.isdecimal()):
        raise ValueError("write it as redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DATABASE")
    secure = parts.scheme == "rediss+sentinel"
    plain = f"redis://{credentials}@_/{database or 0}?{parts.query}"
    options: dict[str, Any] = parse_url(plain)  # type: ignore[no-untyped-call] # because redis-py has not typed it
    del options["host"]
    tls = {"ssl": True} if secure else {}
    certificates = {name: value for name, value in options.items() if name.startswith("ssl_")}
    sentinel_options = {
        name: options.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in options
    }
    timeouts = {"socket_timeout": _SENTINEL_SECONDS, "socket_connect_timeout": _SENTINEL_SECONDS}
    return SentinelUrl(
        tuple(_address(host) for host in hosts.split(",")),
        unquote(service),
        options,
        {**sentinel_options, **certificates, **tls, **timeouts},
        secure,
    )


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError(f"{host!r} is not HOST:PORT")
    return parts.hostname, parts.port or _PORT


def master_pool(url: SentinelUrl, **options: Any) -> ConnectionPool:
    """Return connections to the present master; options of the URL take precedence over those given here."""
    sentinel_kwargs = {**url.sentinel_options, "retry": Retry(NoBackoff(), 0)}
    sentinel: Any = _SENTINEL(list(url.sentinels), sentinel_kwargs=sentinel_kwargs)
    kind = _MasterSSLConnection if url.secure else _MasterConnection
    pool: ConnectionPool = _POOL(url.service, sentinel, connection_class=kind, **{**options, **url.options})
    return pool


def master_pool_async(url: SentinelUrl, **options: Any) -> BlockingConnectionPool:
    """Return the same for an event loop."""
    sentinel_kwargs = {**url.sentinel_options, "retry": AsyncRetry(NoBackoff(), 0)}
    sentinel: Any = _ASYNC_SENTINEL(list(url.sentinels), sentinel_kwargs=sentinel_kwargs)
    kind = _AsyncMasterSSLConnection if url.secure else _AsyncMasterConnection
    pool: BlockingConnectionPool = _ASYNC_POOL(
        url.service, sentinel, connection_class=kind, **{**options, **url.options}
    )
    return pool
