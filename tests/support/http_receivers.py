"""HTTP servers on loopback for tests: they answer as they are told and remember what came."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What a server says: a status (0: it hangs up), a body in parts, headers; and what it waits for before."""

    status: int = 200
    parts: tuple[bytes, ...] = (b"",)
    headers: dict[str, str] = field(default_factory=dict)
    wait_for: threading.Event | None = None


@dataclass
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A running server."""

    port: int
    asked: list[Asked]
    arrived: threading.Condition

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def wait_until_asked(self, times: int, seconds: float = 60) -> list[Asked]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.asked) >= times, seconds), f"asked {len(self.asked)} times"
            return list(self.asked)


@contextmanager
def receiver(
    answer: Callable[[Asked], Answer], tls: ssl.SSLContext | None = None, *, port: int = 0
) -> Iterator[Receiver]:
    """Serve on a port of loopback until the block ends; 0 takes a free one."""
    asked: list[Asked] = []
    arrived = threading.Condition()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            came = Asked(self.command, self.path, {name.lower(): text for name, text in self.headers.items()}, body)
            with arrived:
                asked.append(came)
                arrived.notify_all()
            said = answer(came)
            if said.wait_for is not None:
                said.wait_for.wait(60)
            if not said.status:
                return
            try:
                self._say(said)
            except OSError:
                self.close_connection = True  # because nobody listens any more

        def _say(self, said: Answer) -> None:
            self.send_response(said.status)
            for name, text in said.headers.items():
                self.send_header(name, text)
            self.end_headers()
            for part in said.parts:
                self.wfile.write(part)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # because with the usual 5, connections that come together are dropped

    with Server(("127.0.0.1", port), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield Receiver(server.server_address[1], asked, arrived)
        server.shutdown()
        thread.join()
