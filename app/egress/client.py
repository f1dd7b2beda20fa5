"""An HTTP client for addresses that clients named, protected against server-side request forgery.

A name is resolved once. All of its addresses must be public, and the connection is made to one of them by number, with
the name in the Host header and in TLS, which prevents DNS rebinding. There are no redirects, proxies or cookies, and
connections are not reused, because the pool keeps them by number and a certificate is checked for one name only.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version

import anyio
import anyio.to_thread
import httpx2

from app.egress.allowlist import HostAllowlist, UrlNotAllowed, name_of
from app.egress.public_addresses import is_public

Resolve = Callable[[str, int], Awaitable[list[str]]]

_MAX_CONNECTIONS = 64
_MAX_ADDRESSES = 3
_MAX_LOOKUPS = 16
_PORTS = {"https": 443, "http": 80}


class SsrfSafeTransport(httpx2.AsyncBaseTransport):
    """Sends requests to public addresses only, or to hosts that the operator trusts.

    Args:
        hosts: which the operator allows and trusts.
        resolve: a name and a port to numeric addresses, the preferred one first.
        inner: the transport that connects; it gets numeric addresses only.
    """

    def __init__(self, hosts: HostAllowlist, resolve: Resolve, inner: httpx2.AsyncBaseTransport) -> None:
        self._hosts = hosts
        self._resolve = resolve
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Resolve the name, check its addresses, and send the request to one of them.

        Raises:
            UrlNotAllowed: if one of the addresses is not public, or the host is not allowed.
            httpx2.HTTPError: if no address answers.
        """
        self._hosts.permitted(str(request.url))
        addresses = await self._checked_addresses(request.url)
        for address in addresses[:-1]:
            try:
                return await self._inner.handle_async_request(_to_address(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(_to_address(request, addresses[-1]))

    async def _checked_addresses(self, url: httpx2.URL) -> list[str]:
        found = await self._resolve(name_of(url), url.port or _PORTS[url.scheme])
        if not found:
            raise httpx2.ConnectError(f"the name {name_of(url)!r} does not resolve")
        if not self._hosts.trusts(url) and not all(is_public(address) for address in found):
            raise UrlNotAllowed(f"{name_of(url)!r} is not at a public address")
        return found[:_MAX_ADDRESSES]

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


def _to_address(request: httpx2.Request, address: str) -> httpx2.Request:
    """Return the same request to a numeric address; the Host header keeps the name, and so does TLS."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": name_of(request.url)},
    )


def system_resolver() -> Resolve:
    """Return a resolver that uses the system's, in 16 threads of its own.

    A name server that does not answer blocks only these threads, and a caller that waits can be cancelled.
    """
    limiter = anyio.CapacityLimiter(_MAX_LOOKUPS)

    async def resolve(name: str, port: int) -> list[str]:
        lookup = partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
        try:
            found = await anyio.to_thread.run_sync(lookup, abandon_on_cancel=True, limiter=limiter)
        except (OSError, UnicodeError) as cause:
            raise httpx2.ConnectError(f"the name {name!r} does not resolve") from cause
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    return resolve


def ssrf_safe_client(
    hosts: HostAllowlist,
    *,
    seconds: float,
    resolve: Resolve | None = None,
    verify: ssl.SSLContext | bool = True,
) -> httpx2.AsyncClient:
    """Return a client that reaches allowed hosts at public addresses, and trusted hosts.

    Args:
        hosts: which the operator allows and trusts.
        seconds: longest wait for a connection, and for each piece of an answer.
        resolve: how names become addresses; None for the system's resolver.
        verify: the certificate authorities; by default the system's certificates, or those of SSL_CERT_FILE.
    """
    limits = httpx2.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=0)
    inner = httpx2.AsyncHTTPTransport(verify=verify, limits=limits)
    return httpx2.AsyncClient(
        transport=SsrfSafeTransport(hosts, resolve or system_resolver(), inner),
        timeout=seconds,
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"User-Agent": f"rise-serve/{version('rise-serve')}", "Accept-Encoding": "identity"},
    )


@asynccontextmanager
async def total_timeout(seconds: float) -> AsyncIterator[None]:
    """Bound the whole of an exchange; timeouts of the client hold for each piece of a response only.

    Raises:
        httpx2.ReadTimeout: when the time is up.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as cause:
        raise httpx2.ReadTimeout(f"no answer within {seconds:g} seconds") from cause
