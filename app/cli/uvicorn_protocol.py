"""How much the server reads of a connection before it looks at the others."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

_LITTLE = 32_768  # may be five thousand chunks of one byte each
_MUCH = 65_536  # what uvicorn keeps of a body before it waits for the application


class FairH11Protocol(H11Protocol):
    """HTTP/1.1 by h11, a little at a time: each chunk takes it ten microseconds, and nothing else runs meanwhile.

    asyncio reads 256 KiB at once, which may be forty thousand chunks. A body that says its length has none.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to read."""
        super().connection_made(transport)
        self._read_at_once(_LITTLE)

    def data_received(self, data: bytes) -> None:
        """Take what was read."""
        super().data_received(data)
        if self.cycle is not None and self.cycle.more_body:
            has_chunks = any(name == b"transfer-encoding" for name, _ in self.headers)
            self._read_at_once(_LITTLE if has_chunks else _MUCH)

    def on_response_complete(self) -> None:
        """Make ready for the next request."""
        self._read_at_once(_LITTLE)
        super().on_response_complete()

    def _read_at_once(self, size: int) -> None:
        if hasattr(self.transport, "max_size"):  # asyncio's own; others read as much as they like
            self.transport.max_size = size
