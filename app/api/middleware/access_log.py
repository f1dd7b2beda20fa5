"""Request ids, access log and request metrics: the outermost middleware of the front end.

A client's own `X-Request-ID` is used where it is safe to log; it is returned in the response, written in every log line
of the front end, and stored with the explanation for those of the worker.
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

from app.api.middleware.public_address import route_path
from app.api.problems import handle_unexpected_error, problem_response
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
_SHUTTING_DOWN = RiseError("unavailable", "this front end is leaving; send the request again", retry_after_seconds=1)
_OUTCOME_UNKNOWN = RiseError(
    "internal",
    "this front end is leaving, and may have carried the request out; look before you send it again, and send it with "
    "an Idempotency-Key where that is possible",
)
_SAFE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_METHODS = frozenset(HTTPMethod)
_MAX_METRIC_CHILDREN = 1000  # methods, routes and statuses are few
_UNLOGGED = {"/livez", "/readyz", "/metrics"}  # requested every few seconds by probes


class AccessLogMiddleware:
    """Identifies, logs and counts requests.

    Args:
        app: the application inside.
        not_idempotent: paths where each POST without an Idempotency-Key creates another resource.
    """

    def __init__(self, app: ASGIApp, not_idempotent: Collection[str] = ()) -> None:
        self._app = app
        self._not_idempotent = not_idempotent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with an id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, headers = time.perf_counter(), Headers(scope=scope)
        context = {"request_id": _request_id(headers.get("x-request-id"))}
        trace = trace_id(headers) or trace_id(inject_trace_headers())
        if trace is not None:
            context["trace_id"] = trace

        answered = received = False

        async def receive_and_track() -> Message:
            nonlocal received
            message = await receive()
            received = received or (message["type"] == "http.request" and not message.get("more_body", False))
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = context["request_id"]
                _record(scope, message["status"], time.perf_counter() - started)
            await send(message)

        with log_context(**context):
            try:
                await self._app(scope, receive_and_track, send_with_id)
            except asyncio.CancelledError:  # because the server cancels requests when its shutdown times out
                if answered:
                    raise
                why = _OUTCOME_UNKNOWN if received and self._is_not_idempotent(scope, headers) else _SHUTTING_DOWN
                await problem_response(Request(scope), why)(scope, receive, send_with_id)
            except Exception as error:
                if answered:
                    raise
                response = await handle_unexpected_error(Request(scope), error)
                await response(scope, receive, send_with_id)

    def _is_not_idempotent(self, scope: Scope, headers: Headers) -> bool:
        """Return whether a request that is processed twice creates two resources."""
        creates = scope["method"] == "POST" and route_path(scope) in self._not_idempotent
        return creates and "idempotency-key" not in headers


def _request_id(sent: str | None) -> str:
    return sent if sent is not None and _SAFE_ID.fullmatch(sent) else uuid.uuid4().hex


@lru_cache(_MAX_METRIC_CHILDREN)
def _metric_children(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return the metrics of a kind of request; `labels` costs more than `inc`."""
    return REQUESTS.labels(method, route, str(status)), SECONDS.labels(method, route)


def _record(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "none")  # the pattern, because there are too many paths
    method = scope["method"] if scope["method"] in _METHODS else "other"  # because clients may send any method
    requests, times = _metric_children(method, route, status)
    requests.inc()
    times.observe(seconds)
    path = route_path(scope)
    if path not in _UNLOGGED:
        logger.info("%s %s %d in %.0f ms", scope["method"], path, status, seconds * 1000)
