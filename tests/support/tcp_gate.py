"""A gate between a service and what it talks to: it can be shut, so that nobody gets through, go silent, or be slow."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TLS_HANDSHAKE = b"\x16"


class Gate:
    """Forwards TCP connections to a server.

    Args:
        upstream: host and port of the server.
        tls: unlocks what arrives; None where it is plain.
        plain_too: let connections without TLS pass as well.

    Attributes:
        port: where it listens on loopback.
    """

    def __init__(
        self, upstream: tuple[str, int], tls: ssl.SSLContext | None = None, *, plain_too: bool = False
    ) -> None:
        self._upstream = upstream
        self._tls = tls
        self._plain_too = plain_too
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listening.getsockname()[1]
        self._open = True
        self._delay_seconds = 0.0
        self._speaking = threading.Event()
        self._speaking.set()
        self._through: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Cut every connection, and refuse new ones."""
        self._open = False
        for end in list(self._through):
            _cut(end)

    def reopen(self) -> None:
        """Let everybody through again."""
        self._open = True
        self._delay_seconds = 0.0
        self._speaking.set()

    def slow_down(self, seconds: float) -> None:
        """Carry everything so much later, piece by piece."""
        self._delay_seconds = seconds

    def lead_to(self, port: int) -> None:
        """Lead new connections to another server on loopback; those that are there stay where they are."""
        self._upstream = ("127.0.0.1", port)

    def go_silent(self) -> None:
        """Keep connections and accept new ones, but carry nothing from now on."""
        self._speaking.clear()

    def close(self) -> None:
        """End it."""
        self.reopen()
        self._listening.close()
        self.shut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._open:
                    threading.Thread(target=self._carry, args=[client], daemon=True).start()
                else:
                    _cut(client)

    def _carry(self, client: socket.socket) -> None:
        try:
            inside = self._unlocked(client)
            server = socket.create_connection(self._upstream)
        except OSError:
            _cut(client)
            return
        self._through |= {inside, server}
        if not self._open:  # because it may have been shut in between
            _cut(server)
        threading.Thread(target=self._pump, args=[server, inside], daemon=True).start()
        self._pump(inside, server)

    def _unlocked(self, client: socket.socket) -> socket.socket:
        if self._tls is None or (self._plain_too and client.recv(1, socket.MSG_PEEK) != _TLS_HANDSHAKE):
            return client
        return self._tls.wrap_socket(client, server_side=True)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                self._speaking.wait()
                time.sleep(self._delay_seconds)
                target.sendall(content)
        for end in (source, target):
            self._through.discard(end)
            _cut(end)


def _cut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def gate_to(port: int, tls: ssl.SSLContext | None = None, *, plain_too: bool = False) -> Iterator[Gate]:
    """Put a gate before a server on loopback, until the block ends."""
    gate = Gate(("127.0.0.1", port), tls, plain_too=plain_too)
    try:
        yield gate
    finally:
        gate.close()
