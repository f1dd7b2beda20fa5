"""Problem documents (RFC 9457) for every error; the codes are in `app/contract/errors.py`.

They contain neither tracebacks nor uploaded bytes.
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

from app.api.middleware.public_address import route_path
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
"""Builds the response to an invalid request."""


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
    """Answer every error of an application with a problem document."""
    app.add_exception_handler(RiseError, _handle_rise_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(RedisError, _handle_redis_error)
    app.add_exception_handler(OSError, _handle_os_error)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    app.add_exception_handler(Exception, handle_unexpected_error)


class BodyLimitMiddleware:
    """Limits the size of request bodies.

    Starlette's limit counts received bytes. A `Content-Length` over the limit is refused here, with a problem document
    and before the body is read, because Starlette refuses it in plain text.

    Args:
        app: the application inside.
        max_body_size: in bytes.
        elsewhere: other limits, by path.
        refuse: builds the response to a body that is too large.
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
        limit = self._elsewhere.get(route_path(scope), self._max_body_size)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            detail = f"the request has {declared} bytes; at most {limit} are allowed"
            response = self._refuse(Request(scope), RiseError("request-too-large", detail))
            await response(scope, receive, send)
        else:
            await RequestBodyLimitMiddleware(self._app, limit)(scope, receive, send)


def to_problem(error: RiseError, path: str) -> Problem:
    """Return the problem document of an error.

    Args:
        error: the error.
        path: of the request.
    """
    status = CODES[error.code].status
    return Problem(
        type=_TYPE + error.code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=_encodable(error.detail),
        instance=path,
        code=error.code,
        errors=[ProblemField(field=_encodable(field.field), detail=_encodable(field.detail)) for field in error.errors],
    )


def problem_response(request: Request, error: RiseError) -> JSONResponse:
    """Return the response to a request that failed."""
    body = to_problem(error, request.url.path)
    headers = {"WWW-Authenticate": 'Bearer realm="rise-serve"'} if error.code == "unauthorized" else {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
    return JSONResponse(body.model_dump(), body.status, headers, MEDIA_TYPE)


def _encodable(text: str) -> str:
    """Return text that UTF-8 can encode: a client's input may contain lone surrogates."""
    return text.encode(errors="replace").decode()


async def _handle_rise_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RiseError)
    if isinstance(error, BlobNotFoundError):  # because a record refers to it, which may stay
        logger.error("%s %s: there is no %s in the storage", request.method, request.url.path, error.name)
    return problem_response(request, error)


async def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if any(found["type"] == "json_invalid" for found in error.errors()):
        return problem_response(request, RiseError("malformed-request", "the body is not JSON"))
    fields = [FieldError(_pointer(found["loc"]), found["msg"]) for found in error.errors()]
    detail = "; ".join(f"{field.field.lstrip('/')}: {field.detail}" for field in fields)
    return problem_response(request, RiseError("invalid-parameters", detail, errors=fields))


def _pointer(location: tuple[int | str, ...]) -> str:
    """Return the JSON pointer of a field, without whether it was in the body, the query or a header."""
    return "/" + "/".join(map(str, location[1:] or location))


async def _handle_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODE_OF_STATUS.get(error.status_code, "malformed-request" if error.status_code < 500 else "internal")
    detail = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    response = problem_response(request, RiseError(code, detail))
    response.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(_methods_at(request))
    return response


def _methods_at(request: Request) -> list[str]:
    """Return the methods of a path; the error itself names those of its first route alone."""
    app: FastAPI = request.app
    routes = [route for route in iter_route_contexts(app.routes) if route.matches(request.scope)[0] != Match.NONE]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})


async def _handle_redis_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RedisError)
    logger.error("%s %s: %s", request.method, request.url.path, error)
    return problem_response(request, RiseError("unavailable", f"{describe_error(error)}; see GET /readyz"))


async def _handle_os_error(request: Request, error: Exception) -> JSONResponse:
    """Return a storage error where the folder of temporary files is full, else an internal error."""
    assert isinstance(error, OSError)
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return await handle_unexpected_error(request, error)
    logger.error("%s %s: %s", request.method, request.url.path, error)
    return problem_response(request, StorageError("there is no room for uploads"))


async def _handle_disconnect(request: Request, _: Exception) -> JSONResponse:
    """Return a client error: the client disconnected before the end of its body."""
    return problem_response(request, RiseError("malformed-request", "the body ended before its end"))


async def handle_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    """Return the response to a request that met a fault of ours, which is logged."""
    if isinstance(error, LocalProtocolError):  # because the client sent invalid HTTP during the response
        logger.info("%s %s: %s", request.method, request.url.path, error)
    else:
        logger.error("%s %s", request.method, request.url.path, exc_info=error)
    return problem_response(request, RiseError("internal", "something went wrong here; it has been logged"))
