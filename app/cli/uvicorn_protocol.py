"""HTTP/1.1 by h11, which bounds headers and trailers; uvicorn's httptools protocol accepts 20 MB of them and more."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

_READ_BYTES = 32_768  # as many as five thousand chunks of one byte, of which each takes h11 ten microseconds


class FairH11Protocol(H11Protocol):
    """Reads little of a connection at once, because the event loop does nothing else while h11 parses what was read.

    asyncio reads 256 KiB at once, which may be forty thousand chunks.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Limit the reads of a new connection."""
        super().connection_made(transport)
        if hasattr(transport, "max_size"):  # asyncio's own; other event loops have no such limit
            transport.max_size = _READ_BYTES
