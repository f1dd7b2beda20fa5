"""HEAD at every address that has GET: the same head and nothing behind it (RFC 9110 sections 9.1 and 9.3.2).

Every general-purpose server must support it, and download tools, link checkers and probes ask so first. FastAPI's
routes, unlike Starlette's, know only the methods that they name. The head is the one that GET would send, with the
length of a body that is made and not sent; of a body that is made while it is sent, no more than the first piece is.
"""

from anyio import CancelScope
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STREAM = "/events"  # its body may begin late and has no end: a HEAD there stays a method that is not allowed


class HeadMethodMiddleware:
    """Passes HEAD on as GET and drops the body; middlewares outside still see HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, as GET where it is HEAD."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].endswith(_STREAM):
            await self._app(scope, receive, send)
            return
        get_scope = {**scope, "method": "GET"}
        with CancelScope() as rest:

            async def send_head(message: Message) -> None:
                if "route" in get_scope:
                    scope["route"] = get_scope["route"]  # because requests are counted by it
                if message["type"] != "http.response.body":
                    await send(message)
                    return
                await send({"type": "http.response.body", "body": b""})
                if message.get("more_body", False):
                    rest.cancel()

            await self._app(get_scope, receive, send_head)
