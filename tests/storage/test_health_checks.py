"""Health checks of containers reach Redis by every URL that the manual names, and end with a sentence."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.contract.redis.client import connect
from app.contract.schemas import Announcement
from app.contract.worker_registry import announce, withdraw
from tests.support.environments import ROOT, free_port
from tests.support.redis_servers import issue_certificates, redis_server, sentinel_of
from tests.support.tcp_gate import gate_to

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
WORKER = f"{socket.gethostname()}-1-abc"


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The URLs of one server, by their schemes."""
    folder, port = tmp_path_factory.mktemp("schemes"), free_port()
    certificates = issue_certificates(folder)
    with ExitStack() as stack:
        stack.enter_context(redis_server(folder / "server", port, "--unixsocket", str(folder / "s")))
        secure = stack.enter_context(gate_to(port, certificates.tls, plain_too=True))  # because Sentinel comes without
        sentinel = stack.enter_context(sentinel_of(folder, plain=port, secure=secure.port))
        secure_sentinel = stack.enter_context(gate_to(sentinel, certificates.tls))
        yield {
            "redis": f"redis://127.0.0.1:{port}/0",
            "rediss": f"rediss://127.0.0.1:{secure.port}/0?{certificates.options}",
            "unix": f"unix://{folder}/s",
            "redis+sentinel": f"redis+sentinel://127.0.0.1:{sentinel}/plain/0",
            "rediss+sentinel": f"rediss+sentinel://127.0.0.1:{secure_sentinel.port}/secure/0?{certificates.options}",
        }


class _Alive(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def front_end_port() -> Iterator[int]:
    """The port of something that answers as a front end does that lives."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Alive)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def check(name: str, url: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a health check as a container does."""
    command = [sys.executable, "-m", "app.cli.healthcheck", name]
    environment = {**os.environ, "RISE_REDIS_URL": url, **settings}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in found.stderr, found.stderr
    return found


def test_every_scheme_of_the_manual_is_tried_here() -> None:
    (row,) = re.findall(r"^\| `REDIS_URL` .*$", (ROOT / "docker" / "STORAGE.md").read_text(), re.MULTILINE)
    assert re.findall(r"`([a-z+]+)://`", row) == [*SCHEMES[:2], "unix", *SCHEMES[3:]]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_checks_reach_the_server(scheme: str, urls: dict[str, str], front_end_port: int) -> None:
    redis = connect(urls[scheme])
    announced = Announcement(worker=WORKER, queue="default", version="1", device="cpu", models=[], methods=[], fills=[])
    announce(redis, announced, seconds=60)
    for name in ("api", "worker", "webhooks"):
        found = check(name, urls[scheme], RISE_PORT=str(front_end_port))
        assert found.returncode == 0, found.stderr
    withdraw(redis, WORKER)
    found = check("worker", urls[scheme])
    assert (found.returncode, found.stderr) == (1, "worker: not healthy\n")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_where_nobody_listens_the_worker_is_well_and_the_sender_of_callbacks_is_not(
    scheme: str, tmp_path: Path
) -> None:
    address = {"unix": str(tmp_path / "s"), "redis+sentinel": "127.0.0.1:1/x", "rediss+sentinel": "127.0.0.1:1/x"}
    url = f"{scheme}://{address.get(scheme, '127.0.0.1:1/0')}"
    assert check("worker", url).returncode == 0
    found = check("webhooks", url)
    assert found.returncode == 1
    assert found.stderr.startswith("webhooks: not healthy: ")


def test_a_server_that_accepts_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    port = free_port()
    with redis_server(tmp_path, port), gate_to(port) as gate:
        gate.go_silent()
        silent = f"127.0.0.1:{gate.port}"
        assert check("worker", f"redis+sentinel://{silent},{silent},{silent}/x/0").returncode == 0
        assert check("webhooks", f"redis://{silent}/0").returncode == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1/0", "redis+sentinel://one", "redis://127.0.0.1:port/0", "nonsense"])
@pytest.mark.parametrize("name", ["worker", "webhooks"])
def test_a_url_that_is_none_is_said_in_a_sentence(name: str, url: str) -> None:
    found = check(name, url)
    assert found.returncode == 1
    assert found.stderr.startswith(f"{name}: not healthy: ")


def test_whatever_else_is_wrong_is_said_in_a_sentence() -> None:
    assert check("api", "", RISE_PORT=str(free_port())).stderr.startswith("api: not healthy: ")
    assert check("api", "", RISE_PORT="many").stderr.startswith("api: not healthy: ")
    assert check("weather", "").stderr == "weather: there is no such check; choose from: api, worker, webhooks\n"
