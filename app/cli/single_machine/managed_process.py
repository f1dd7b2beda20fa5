"""Processes that one process keeps alive: started in order, started again when they die, stopped together.

Children run in sessions of their own, so that Ctrl-C reaches only their parent, which stops them in order. On Linux the
kernel ends them too should the parent be killed.
"""

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app.contract.exit_codes import DESCRIPTIONS

# -P, because packages called `app` or `workers` in the current folder would be imported in the place of ours.
PYTHON = (sys.executable, "-P", "-m")
REDIS_SERVER = "redis server"

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 30.0
_HEALTHY_SECONDS = 15.0  # a child that lived this long was not started in vain


class StartupError(Exception):
    """Something on this machine is in the way; says what to do."""


@dataclass
class ManagedProcess:
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
    _start_again_at: float | None = field(default=None, repr=False)
    _early_deaths: int = field(default=0, repr=False)

    def start(self) -> None:
        """Start it."""
        self._started_at, self._start_again_at = time.monotonic(), None
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
        now = time.monotonic()
        if self._start_again_at is None:
            pause = self._pause_after(self.process.returncode, now - self._started_at)
            self._start_again_at = now + pause
            again = "; it keeps ending early, and its log says why" if self._early_deaths > 2 else ""
            when = f" in {pause:g} s" if pause else ""
            say(f"{self.name} {_meaning(self.process.returncode)}; starting it again{when}{again}")
        if now >= self._start_again_at:
            self.start()

    def _pause_after(self, code: int, lived: float) -> float:
        """Return the seconds to wait; one that saw fit to end itself was not started in vain."""
        if lived > _HEALTHY_SECONDS or code in DESCRIPTIONS:
            self._early_deaths = 0
            return 0.0
        self._early_deaths += 1
        return min(_FIRST_PAUSE_SECONDS * 2.0 ** (self._early_deaths - 1), _LONGEST_PAUSE_SECONDS)

    def stop(self, deadline: float) -> None:
        """Wait until it has ended after a SIGTERM that was sent before; kill it when the time is up."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """End it now."""
        if self.process is not None:
            self.process.kill()

    def terminate(self) -> None:
        """Ask it to end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()


def _meaning(code: int) -> str:
    """Return what the code says with which a child ended; below 0 it is a signal, as everywhere in Python."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return DESCRIPTIONS.get(code, f"ended with code {code}")


def _die_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def stop_all(children: list[ManagedProcess]) -> None:
    """Stop the services together, then the server that they use."""
    servers = [child for child in children if child.name == REDIS_SERVER]
    services = [child for child in children if child.name != REDIS_SERVER]
    for group in (services, servers):
        deadline = time.monotonic() + _GRACE_SECONDS
        for child in group:
            child.terminate()
        for child in group:
            child.stop(deadline)
