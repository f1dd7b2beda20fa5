"""Time-out of request bodies that stall (slowloris protection).

The server itself waits without end. What counts is the time between two pieces, so that a slow line may send a large
archive for as long as it takes. A client that is answered before its whole body has come is answered all the same.
"""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyTimeoutMiddleware:
    """Ends the wait for bodies that stop coming, with 408 and the end of the connection.

    Args:
        app: what reads bodies.
        seconds: longest time between two pieces of a body.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_whole = False

        async def receive_in_time() -> Message:
            nonlocal is_whole
            if is_whole:  # what follows is the disconnect, which has no time-out
                return await receive()
            try:
                async with asyncio.timeout(self._seconds):
                    message = await receive()
            except TimeoutError as cause:
                detail = f"nothing more of the request's body came for {self._seconds:g} seconds"
                raise HTTPException(408, detail, {"Connection": "close"}) from cause
            is_whole = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)
