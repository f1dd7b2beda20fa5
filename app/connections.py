"""How much the server reads of a connection before it looks at the others."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

_READ_BYTES = 65_536  # asyncio reads four times as much, which may be forty thousand chunks of one byte each


class Connection(H11Protocol):
    """HTTP/1.1 by h11, a little at a time: each chunk takes it ten microseconds, and nothing else runs meanwhile."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to read."""
        if hasattr(transport, "max_size"):  # asyncio's own; others read as much as they like
            transport.max_size = _READ_BYTES
        super().connection_made(transport)
