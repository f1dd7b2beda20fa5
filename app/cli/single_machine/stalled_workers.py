"""Workers that stand still: their process lives, so nobody starts another, and nothing comes from it any more.

A worker announces itself every few seconds. One whose announcement has gone while its process goes on is killed: it was
stopped by a signal, or is held up by something that its own watchdog cannot see.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence

from redis import Redis
from redis.exceptions import RedisError

from app.cli.single_machine.managed_process import ManagedProcess
from app.contract.redis.client import connect_with_retry
from app.contract.worker_registry import announcements


class LivenessMonitor:
    """Looks for the announcements of workers that this process has started.

    Args:
        redis_url: where they are announced.
        seconds: how long a worker that has been announced before may be without an announcement.
        pause_seconds: between two looks.
    """

    def __init__(self, redis_url: str, *, seconds: float, pause_seconds: float) -> None:
        self._redis: Redis = connect_with_retry(redis_url, seconds=0, stopping=threading.Event())
        self._seconds = seconds
        self._pause_seconds = pause_seconds
        self._seen_at: dict[int, float] = {}
        self._look_at = -float("inf")

    def look(self, children: Sequence[ManagedProcess], say: Callable[[str], None]) -> None:
        """Kill the workers that stand still, if it is time for a look."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self._pause_seconds
        running = {child.process.pid: child for child in children if child.process and child.process.poll() is None}
        announced = self._announced(running)
        self._seen_at = {
            pid: now if announced is None or pid in announced else self._seen_at[pid]
            for pid in running
            if pid in self._seen_at or (announced and pid in announced)
        }
        for pid, seen_at in self._seen_at.items():
            if now - seen_at > self._seconds:
                say(f"{running[pid].name} lives and shows no sign of it for {now - seen_at:.0f} s; killing it")
                running[pid].kill()

    def _announced(self, running: dict[int, ManagedProcess]) -> set[int] | None:
        """Return which processes are announced; None where nobody can tell, because the server is away."""
        try:
            names = [one.worker for one in announcements(self._redis)]
        except RedisError:
            return None
        host = socket.gethostname()
        return {pid for pid in running if any(name.startswith(f"{host}-{pid}-") for name in names)}
