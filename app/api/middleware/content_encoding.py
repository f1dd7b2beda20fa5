"""Compressed request bodies (RFC 9110 section 8.4): gzip is inflated little by little, other codings are refused.

What stands inside sees the inflated body, without its length, and counts it against the same limits.
"""

import zlib

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import Refuse
from app.contract.errors import RiseError

_PIECE_BYTES = 65_536  # what is inflated at once; a thousand times as much may come of it otherwise
_GZIP = 16 + zlib.MAX_WBITS  # with a gzip header
_ACCEPTED = "identity, gzip"


class ContentEncodingMiddleware:
    """Inflates gzip bodies.

    Args:
        app: the application inside.
        refuse: builds the response to a body of another coding.
    """

    def __init__(self, app: ASGIApp, refuse: Refuse) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        codings = _codings(scope) if scope["type"] == "http" else []
        if not codings:
            await self._app(scope, receive, send)
        elif len(codings) == 1 and codings[0] in {"gzip", "x-gzip"}:
            headers = MutableHeaders(raw=list(scope["headers"]))
            del headers["content-encoding"]
            del headers["content-length"]
            await self._app({**scope, "headers": headers.raw}, InflatedBody(receive), send)
        else:
            error = RiseError("unsupported-media-type", f"send the body as it is or as gzip, not {', '.join(codings)}")
            response = self._refuse(Request(scope), error)
            response.headers["Accept-Encoding"] = _ACCEPTED
            await response(scope, receive, send)


def _codings(scope: Scope) -> list[str]:
    """Return the codings of a body in the order in which they were applied."""
    named = ",".join(Headers(scope=scope).getlist("content-encoding")).lower().split(",")
    return [coding.strip() for coding in named if coding.strip() not in {"", "identity"}]


class InflatedBody:
    """Receives the pieces of a gzip body, inflated; it may have several members (RFC 1952 section 2.2).

    Args:
        receive: receives the pieces of the body as it came.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._inflater = zlib.decompressobj(_GZIP)
        self._waiting = b""
        self._begun = self._received = self._over = False

    async def __call__(self) -> Message:
        """Return the next piece; the last one is empty.

        Raises:
            HTTPException: 400 where the body is not gzip, or ends too early.
        """
        if self._over:  # what follows is the disconnect
            return await self._receive()
        piece = self._inflate()
        while not piece and not self._received:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._waiting, self._received = message.get("body", b""), not message.get("more_body", False)
            piece = self._inflate()
        self._over = not piece
        if self._over and self._begun and not self._inflater.eof:
            raise HTTPException(400, "the gzip body ends too early")
        return {"type": "http.request", "body": piece, "more_body": not self._over}

    def _inflate(self) -> bytes:
        """Return what comes of the bytes that wait; nothing where more of them are needed."""
        self._begun = self._begun or bool(self._waiting)
        while True:
            if self._inflater.eof and self._waiting:
                self._inflater = zlib.decompressobj(_GZIP)
            try:
                piece = self._inflater.decompress(self._waiting, _PIECE_BYTES)
            except zlib.error as cause:
                raise HTTPException(400, "the body is not gzip, as its Content-Encoding says") from cause
            self._waiting = self._inflater.unconsumed_tail or self._inflater.unused_data
            if piece or not self._waiting:
                return piece
