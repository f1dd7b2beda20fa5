"""Errors in KServe's format, `{"error": "..."}`, with the statuses of the rest of the service."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from app.api.problems import problem_response
from app.contract.errors import RiseError

_KEPT = ("retry-after", "www-authenticate", "allow")


class KServeErrorRoute(APIRoute):
    """A route whose errors become `{"error": "..."}`, because KServe's clients read only that member."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of requests."""
        handle = super().get_route_handler()

        async def handle_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                return _kserve_response(await _problem_response(request, error))

        return handle_errors


def error_response(request: Request, error: RiseError) -> Response:
    """Return the response to a request that is refused."""
    return _kserve_response(problem_response(request, error))


async def _problem_response(request: Request, error: Exception) -> Response:
    """Return the response of the front end's handler of an error (`app/api/problems.py`)."""
    handlers = request.app.exception_handlers
    kind = next(kind for kind in type(error).__mro__ if kind in handlers)
    response: Response = await handlers[kind](request, error)
    return response


def _kserve_response(response: Response) -> Response:
    headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
    return JSONResponse({"error": json.loads(bytes(response.body))["detail"]}, response.status_code, headers)
