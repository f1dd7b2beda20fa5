"""Every request gets an id, a log line and a count: the outermost layer of the front end.

A client's own `X-Request-ID` is kept where it is harmless; it comes back in the response, stands in every log line of
the front end, and travels with the explanation into those of the worker.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Collection
from functools import lru_cache
from http import HTTPMethod

from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem_response
from app.contract.errors import RiseError
from app.contract.log_context import log_context
from app.contract.tracing import inject_trace_headers, trace_id

logger = logging.getLogger("app.api.middleware.access_log")

REQUESTS = Counter("rise_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram(
    "rise_request_seconds",
    "Seconds until the first byte of an answer.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
_LEAVING = RiseError("unavailable", "this front end is leaving; send the request again", retry_after_seconds=1)
_UNKNOWN = RiseError(
    "internal",
    "this front end is leaving, and may have carried the request out; look before you send it again, and send it with "
    "an Idempotency-Key where that is possible",
)
_HARMLESS = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_METHODS = frozenset(HTTPMethod)
_KINDS = 1000  # methods, routes and statuses are few
_QUIET = {"/livez", "/readyz", "/metrics"}  # asked for every few seconds by machines


class AccessLogMiddleware:
    """Names, logs and counts requests.

    Args:
        app: what answers them.
        making_anew: paths to which a POST without an Idempotency-Key makes one more resource each time.
    """

    def __init__(self, app: ASGIApp, making_anew: Collection[str] = ()) -> None:
        self._app = app
        self._making_anew = making_anew

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its name."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, headers = time.perf_counter(), Headers(scope=scope)
        names = {"request_id": _request_id(headers.get("x-request-id"))}
        trace = trace_id(headers) or trace_id(inject_trace_headers())
        if trace is not None:
            names["trace_id"] = trace

        answered = received = False

        async def receive_noted() -> Message:
            nonlocal received
            message = await receive()
            received = received or (message["type"] == "http.request" and not message.get("more_body", False))
            return message

        async def answer(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = names["request_id"]
                _note(scope, message["status"], time.perf_counter() - started)
            await send(message)

        with log_context(**names):
            try:
                await self._app(scope, receive_noted, answer)
            except asyncio.CancelledError:  # because this process ends, and the server waits no longer
                if answered:
                    raise
                why = _UNKNOWN if received and self._makes_anew(scope, headers) else _LEAVING
                await problem_response(Request(scope), why)(scope, receive, answer)
            except Exception:
                if not answered:
                    _note(scope, 500, time.perf_counter() - started)  # because the answer is made outside of here
                raise

    def _makes_anew(self, scope: Scope, headers: Headers) -> bool:
        """Return whether a request that is carried out twice makes two resources."""
        return scope["method"] == "POST" and scope["path"] in self._making_anew and "idempotency-key" not in headers


def _request_id(given: str | None) -> str:
    return given if given is not None and _HARMLESS.fullmatch(given) else uuid.uuid4().hex


@lru_cache(_KINDS)
def _of(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return what counts the requests of a kind; to find it costs more than to count."""
    return REQUESTS.labels(method, route, str(status)), SECONDS.labels(method, route)


def _note(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "none")  # the pattern: few, where addresses are many
    method = scope["method"] if scope["method"] in _METHODS else "other"  # because a client may invent any number
    requests, times = _of(method, route, status)
    requests.inc()
    times.observe(seconds)
    if scope["path"] not in _QUIET:
        logger.info("%s %s %d in %.0f ms", scope["method"], scope["path"], status, seconds * 1000)
