"""Sends hostile requests to a running service, a few at once, and watches the front end meanwhile."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.hostile_requests import HostileRequest

AT_ONCE = 8
_PIECES = 5
_PAUSE_SECONDS = 0.05
_PATIENCE_SECONDS = 60.0
_PAGE_BYTES = 4096
_GO_ON = b"HTTP/1.1 100 \r\n\r\n"


@dataclass(frozen=True)
class Outcome:
    """What came of an attack.

    Attributes:
        statuses: how often each status was answered; 0 where the connection ended without an answer.
        failures: the requests that were answered by 5xx, with their answers.
        resident_bytes: of the front end, after each hundred requests.
        slowest_seconds: of all looks at `/livez` meanwhile.
    """

    statuses: Counter[int]
    failures: list[str]
    resident_bytes: list[int]
    slowest_seconds: float = 0.0


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def attack(url: str, pid: int, requests: Iterator[HostileRequest]) -> Outcome:
    """Send requests to the front end of that process id and return what came of it."""
    with _watching(url) as slowest_seconds:
        outcome = asyncio.run(_attack(url, pid, requests))
        return replace(outcome, slowest_seconds=slowest_seconds())


async def _attack(url: str, pid: int, requests: Iterator[HostileRequest]) -> Outcome:
    outcome = Outcome(Counter(), [], [])

    async def send_on() -> None:
        for request in requests:
            answer = await _send(url, request)
            status = int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0
            outcome.statuses[status] += 1
            if status >= 500:
                outcome.failures.append(f"{request.kind} -> {answer[-400:].decode(errors='replace')}")
            if outcome.statuses.total() % 100 == 0:
                outcome.resident_bytes.append(resident_bytes(pid))

    await asyncio.gather(*(send_on() for _ in range(AT_ONCE)))
    return outcome


async def _send(url: str, request: HostileRequest) -> bytes:
    """Return the whole answer to a request; what came of it where the connection broke."""
    reader, writer = await _connection(url)
    answer = b""
    try:
        for piece in _pieces(request):
            writer.write(piece)
            await writer.drain()
            if request.manner == "slow":
                await asyncio.sleep(_PAUSE_SECONDS)
        if request.manner != "cut":
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answer = await reader.read(-1)
    except ConnectionError:
        pass
    except TimeoutError as error:
        error.add_note(f"no answer to {request.kind}, {request.manner}: {request.content[:2000]!r}")
        raise
    finally:
        writer.transport.abort()
    return answer.removeprefix(_GO_ON)


def _pieces(request: HostileRequest) -> Iterator[bytes]:
    content = request.content
    size = len(content) // _PIECES + 1 if request.manner == "slow" else len(content)
    return (content[place : place + size] for place in range(0, len(content), size))


async def _connection(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


@contextmanager
def _watching(url: str) -> Iterator[Callable[[], float]]:
    """Look at `/livez` from a process of its own; the function ends that and returns the longest time of an answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.liveness_probe", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield lambda: float(process.communicate()[0])
    finally:
        process.kill()
        process.wait()
