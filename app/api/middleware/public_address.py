"""The address at which clients see the service, behind a proxy that may show it below a path.

The operator says it (`RISE_PUBLIC_URL`), or a trusted proxy does: `X-Forwarded-Proto`, `X-Forwarded-Host`,
`X-Forwarded-Prefix`. It becomes the request's scheme, host and `root_path`, whether or not the proxy has removed the
path from the request's own. Other clients' fields are ignored.
"""

import re
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.explanations.root_path import links_below

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")  # not `//host`, which would be another host
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")


def route_path(scope: Scope) -> str:
    """Return the path of a request without the one below which clients see the service."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class PublicAddressMiddleware:
    """Gives requests the scheme, host and path that their clients see.

    Args:
        app: the application inside.
        public_url: where clients see the service; empty for where it is.
        trusted_proxies: addresses and networks of proxies, with commas between; `*` for all.
    """

    def __init__(self, app: ASGIApp, public_url: str, trusted_proxies: str) -> None:
        self._app = app
        self._public = urlsplit(public_url)
        self._proxies = ProxyHeadersMiddleware(cast(Any, self._answer), trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent, seen = Headers(scope=scope), {**scope, "root_path": self._public.path.rstrip("/")}
        if self._public.scheme:
            seen |= {"scheme": self._public.scheme, "headers": _with_host(scope, self._public.netloc)}
        if scope["client"] and scope["client"][0] in self._proxies.trusted_hosts:
            prefix, host = sent.get("x-forwarded-prefix", "").rstrip("/"), sent.get("x-forwarded-host", "")
            if _PREFIX.fullmatch(prefix):
                seen["root_path"] = prefix
            if _HOST.fullmatch(host):
                seen["headers"] = _with_host(scope, host)
        await self._proxies(cast(Any, seen), cast(Any, receive), cast(Any, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        root, path = scope["root_path"], scope["path"]
        inside = path.removeprefix(root) if f"{path}/".startswith(f"{root}/") else path
        with links_below(root):
            await self._app({**scope, "path": root + (inside or "/")}, receive, send)


def _with_host(scope: Scope, host: str) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in scope["headers"] if name != b"host"] + [(b"host", host.encode())]
