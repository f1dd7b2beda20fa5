"""Requests per minute of a key: refused over the limit, reported in `RateLimit` fields below it.

The fields are those of draft-ietf-httpapi-ratelimit-headers (version 10): `q` requests per `w` seconds, `r` of them
left, `t` seconds until there is one more.
"""

import math

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admission.limits import RateLimitResult, TokenBucket
from app.auth.principal import Principal
from app.contract.errors import RiseError

_STATE = "allowance"  # name in the request's state


def count_request(rates: TokenBucket, caller: Principal, state: dict[str, RateLimitResult]) -> None:
    """Count a request of a key that has a limit.

    Raises:
        RiseError: `too-many-requests`, with the seconds until the next one is allowed.
    """
    limit = caller.limits.requests_per_minute
    if caller.key is None or limit is None:
        return
    state[_STATE] = allowance = rates.take(caller.key, limit)
    if not allowance.allowed:
        detail = f"this key may send {limit} requests per minute"
        raise RiseError("too-many-requests", detail, retry_after_seconds=allowance.seconds)


class RateLimitHeadersMiddleware:
    """Adds `RateLimit` fields to every response to a key with a limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the fields to the response."""
        state = scope.setdefault("state", {})

        async def send_with_fields(message: Message) -> None:
            allowance: RateLimitResult | None = state.get(_STATE)
            if message["type"] == "http.response.start" and allowance is not None:
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = f'"requests";q={allowance.limit};w=60'
                headers["RateLimit"] = f'"requests";r={allowance.remaining};t={math.ceil(allowance.seconds)}'
            await send(message)

        await self._app(scope, receive, send_with_fields)
