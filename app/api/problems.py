"""RFC 9457 bodies for everything that can go wrong; the codes stand in `app/contract/errors.py`.

Never a traceback, never the uploaded bytes.
"""

import errno
import logging
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from h11 import LocalProtocolError
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app.contract.errors import CODES, BlobNotFoundError, FieldError, RiseError, StorageError
from app.contract.redis.client import describe_error

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_CODE_OF_STATUS = {
    400: "malformed-request",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "request-timeout",
    413: "request-too-large",
    415: "unsupported-media-type",
}
_TYPE = "urn:rise-serve:problem:"

Refuse = Callable[[Request, RiseError], Response]
"""Makes the answer to a request that is wrong."""


class ProblemField(BaseModel):
    """One field at fault."""

    field: str = Field(description="JSON pointer into the request.", examples=["/masks"])
    detail: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="Identifies the kind of problem.")
    title: str = Field(description="The HTTP status in words.")
    status: int
    detail: str = Field(description="What went wrong this time, in a sentence.")
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(description="The kind of problem, for programs.", examples=sorted(CODES))
    errors: list[ProblemField] = Field(default_factory=list)


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of an application a problem."""
    app.add_exception_handler(RiseError, _of_rise_error)
    app.add_exception_handler(RequestValidationError, _of_validation_error)
    app.add_exception_handler(HTTPException, _of_http_error)
    app.add_exception_handler(RedisError, _of_lost_queue)
    app.add_exception_handler(OSError, _of_full_disk)
    app.add_exception_handler(ClientDisconnect, _of_cut_connection)
    app.add_exception_handler(Exception, _of_anything)


class BodyLimitMiddleware:
    """Bounds the bodies of requests.

    Starlette's limit counts what arrives. A client that declares too much is answered here, by a problem and before any
    of it is read, because Starlette answers it in plain text.

    Args:
        app: what is bounded.
        max_body_size: in bytes.
        elsewhere: other bounds, by path.
        refuse: makes the answer.
    """

    def __init__(self, app: ASGIApp, max_body_size: int, elsewhere: Mapping[str, int], refuse: Refuse) -> None:
        self._app = app
        self._refuse = refuse
        self._max_body_size = max_body_size
        self._elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._elsewhere.get(scope["path"], self._max_body_size)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            detail = f"the request has {declared} bytes; at most {limit} are allowed"
            response = self._refuse(Request(scope), RiseError("request-too-large", detail))
            await response(scope, receive, send)
        else:
            await RequestBodyLimitMiddleware(self._app, limit)(scope, receive, send)


def to_problem(error: RiseError, path: str) -> Problem:
    """Return what a client is told of an error.

    Args:
        error: what went wrong.
        path: what was asked for.
    """
    status = CODES[error.code].status
    return Problem(
        type=_TYPE + error.code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=_writable(error.detail),
        instance=path,
        code=error.code,
        errors=[ProblemField(field=_writable(field.field), detail=_writable(field.detail)) for field in error.errors],
    )


def problem_response(request: Request, error: RiseError) -> JSONResponse:
    """Return the response for an error."""
    body = to_problem(error, request.url.path)
    headers = {"WWW-Authenticate": 'Bearer realm="rise-serve"'} if error.code == "unauthorized" else {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
    return JSONResponse(body.model_dump(), body.status, headers, MEDIA_TYPE)


def _writable(text: str) -> str:
    """Return text that UTF-8 can hold: a client's own words may have half a surrogate pair in them."""
    return text.encode(errors="replace").decode()


async def _of_rise_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RiseError)
    if isinstance(error, BlobNotFoundError):  # because a record refers to it that may be there for good
        logger.error("%s %s: there is no %s in the storage", request.method, request.url.path, error.name)
    return problem_response(request, error)


async def _of_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if any(found["type"] == "json_invalid" for found in error.errors()):
        return problem_response(request, RiseError("malformed-request", "the body is not JSON"))
    fields = [FieldError(_pointer(found["loc"]), found["msg"]) for found in error.errors()]
    detail = "; ".join(f"{field.field.lstrip('/')}: {field.detail}" for field in fields)
    return problem_response(request, RiseError("invalid-parameters", detail, errors=fields))


def _pointer(place: tuple[int | str, ...]) -> str:
    """Return a field as clients know it: not by whether it came in the body, the query or a header."""
    return "/" + "/".join(map(str, place[1:] or place))


async def _of_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODE_OF_STATUS.get(error.status_code, "malformed-request" if error.status_code < 500 else "internal")
    detail = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    response = problem_response(request, RiseError(code, detail))
    response.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(_methods_at(request))
    return response


def _methods_at(request: Request) -> list[str]:
    """Return the methods that an address has; the error itself names those of its first route alone."""
    app: FastAPI = request.app
    routes = [route for route in iter_route_contexts(app.routes) if route.matches(request.scope)[0] != Match.NONE]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})


async def _of_lost_queue(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RedisError)
    logger.error("%s %s: %s", request.method, request.url.path, error)
    return problem_response(request, RiseError("unavailable", f"{describe_error(error)}; see GET /readyz"))


async def _of_full_disk(request: Request, error: Exception) -> JSONResponse:
    """Return what is said where an upload finds no room in the folder for temporary files; else it is our fault."""
    assert isinstance(error, OSError)
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return await _of_anything(request, error)
    logger.error("%s %s: %s", request.method, request.url.path, error)
    return problem_response(request, StorageError("there is no room for uploads"))


async def _of_cut_connection(request: Request, _: Exception) -> JSONResponse:
    """Return what nobody will read: a client that goes away in the middle of its body is no failure of ours."""
    return problem_response(request, RiseError("malformed-request", "the body ended before its end"))


async def _of_anything(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, LocalProtocolError):  # because a client broke its own request while it was being answered
        logger.info("%s %s: %s", request.method, request.url.path, error)
    else:
        logger.error("%s %s", request.method, request.url.path, exc_info=error)
    return problem_response(request, RiseError("internal", "something went wrong here; it has been logged"))
