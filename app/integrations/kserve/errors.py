"""Errors as KServe says them: `{"error": "..."}` with the statuses that the rest of the service has."""

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
    """A route whose errors become `{"error": "..."}`, because KServe's clients look for that member alone."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                return _reworded(await _handled(request, error))

        return answer


def refusal(request: Request, error: RiseError) -> Response:
    """Return the answer to a request that is wrong."""
    return _reworded(problem_response(request, error))


async def _handled(request: Request, error: Exception) -> Response:
    """Return the problem that the front end makes of an error (`app/api/problems.py`)."""
    handlers = request.app.exception_handlers
    kind = next(kind for kind in type(error).__mro__ if kind in handlers)
    response: Response = await handlers[kind](request, error)
    return response


def _reworded(answer: Response) -> Response:
    headers = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
    return JSONResponse({"error": json.loads(bytes(answer.body))["detail"]}, answer.status_code, headers)
