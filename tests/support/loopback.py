"""HTTP servers on loopback that tests make: each request goes to a function, and may get into trouble on its way."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What goes back: at once, drop by drop, a part before the connection is cut, or nothing until the test is over."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    never: bool = False
    drop_seconds: float = 0.0


@dataclass
class Loopback:
    """A running server.

    Attributes:
        url: its address.
        log: every request that arrived.
        most_at_once: how many were under way together at most.
    """

    url: str
    log: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    under_way: int = 0

    def asked(self, path: str) -> list[Asked]:
        return [one for one in self.log if one.path == path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.running = Loopback(f"http://127.0.0.1:{self.server_address[1]}")
        self.over, self.lock = threading.Event(), threading.Lock()
        self.connections: list[socket.socket] = []

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that go away are what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # because headers and body go out one after the other

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        running, body = self.server.running, self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.lock:
            running.under_way += 1
            running.most_at_once = max(running.most_at_once, running.under_way)
            asked = Asked(len(running.asked(self.path)), self.command, self.path, headers, body)
            running.log.append(asked)
        try:
            reply = self.server.answer(asked)
        finally:
            with self.server.lock:
                running.under_way -= 1
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.close_connection = reply.cut or reply.never
        if reply.never:
            self.server.over.wait(60)
            return
        self.send_response(reply.status)
        self.send_header("content-length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if not reply.drop_seconds:
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
            return
        for place in range(len(reply.body)):
            self.wfile.write(reply.body[place : place + 1])
            self.server.over.wait(reply.drop_seconds)


@contextmanager
def loopback(answer: Callable[[Asked], Reply]) -> Iterator[Loopback]:
    """Serve requests on a free port until the block ends."""
    server = _Server(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.running
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
        for connection in server.connections:
            with suppress(OSError):  # because most of them are closed
                connection.shutdown(socket.SHUT_RDWR)
