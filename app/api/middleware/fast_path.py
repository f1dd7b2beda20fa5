"""The requests that are most of all requests, answered before FastAPI's routing and dependencies.

Those cost as much as the answers. A shortcut is for the plain form of a request that a route answers too: whatever is
unusual about one is left to the route, and what goes wrong is said by the same handlers.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send


class FastPathRoute(NamedTuple):
    """Answers a kind of request.

    Attributes:
        method: of HTTP.
        path: as the route says it; the last part may be a parameter.
        fits: whether a request of that path is a plain one.
        answer: takes such a request, and the parameter where there is one.
    """

    method: str
    path: str
    fits: Callable[[Request], bool]
    answer: Callable[[Request, str], Awaitable[Response]]

    def parameter(self, path: str) -> str | None:
        """Return the last part of a path of this kind, empty where it is none; None for any other path."""
        before, _, named = self.path.partition("{")
        last = path.removeprefix(before)
        suits = path.startswith(before) and bool(last) == bool(named) and "/" not in last
        return last if suits else None


class FastPathMiddleware:
    """Takes shortcuts.

    Args:
        app: what answers all other requests.
        shortcuts: one of each method at most.
    """

    def __init__(self, app: ASGIApp, shortcuts: Iterable[FastPathRoute]) -> None:
        self._app = app
        self._by_method = {shortcut.method: shortcut for shortcut in shortcuts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        shortcut = self._by_method.get(scope["method"]) if scope["type"] == "http" else None
        parameter = shortcut.parameter(scope["path"]) if shortcut is not None else None
        request = Request(scope, receive) if parameter is not None else None
        if shortcut is None or parameter is None or request is None or not shortcut.fits(request):
            await self._app(scope, receive, send)
            return
        scope["route"] = shortcut  # as routes do
        try:
            response = await shortcut.answer(request, parameter)
        except Exception as error:  # of any kind that an answer is known for
            response = await _handled(request, error)
        await response(scope, receive, send)


async def _handled(request: Request, error: Exception) -> Response:
    app: FastAPI = request.app
    for kind in type(error).__mro__[: -len(Exception.__mro__)]:
        handler: Any = app.exception_handlers.get(kind)
        if handler is not None:
            response: Response = await handler(request, error)
            return response
    raise error
