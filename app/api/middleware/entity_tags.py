"""Entity tags of compressed answers: weak, because a strong one names the bytes as they are (RFC 9110 section 8.8.3.3).

Starlette's `GZipMiddleware` leaves the tag of the uncompressed answer as it is; nginx and Django put `W/` before it, as
here. `If-None-Match` compares weakly and matches either. `If-Range` compares strongly: a client that has compressed
bytes gets the whole again, never a range of the others.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class WeakEntityTagMiddleware:
    """Makes the tag of a compressed answer weak, and that of a 304 that confirms one; stands outside of compression."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and change the tag of the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Headers(scope=scope)

        async def send_tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                _weaken(MutableHeaders(scope=message), message["status"], request)
            await send(message)

        await self._app(scope, receive, send_tagged)


def _weaken(response: MutableHeaders, status: int, request: Headers) -> None:
    tag = response.get("ETag", "")
    if not tag.startswith('"'):
        return
    weak, copies = f"W/{tag}", ",".join(request.getlist("If-None-Match"))
    if "Content-Encoding" in response:
        response["ETag"] = weak
    elif status == 304 and "gzip" in request.get("Accept-Encoding", "") and weak in copies:
        response["ETag"] = weak  # because a 304 has the tag and the `Vary` of the answer that it stands for
        response.add_vary_header("Accept-Encoding")
