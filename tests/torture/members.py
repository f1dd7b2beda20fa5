"""Processes that are meant to be there all the time: started again after whatever is done to them."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

_END_SECONDS = 30.0
_UP_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class Member:
    """One process after the other, in one place.

    Args:
        name: for reports and its log.
        command: what runs.
        environment: all of it.
        log: what it writes.
        is_up: whether the running process does its work.

    Attributes:
        endings: seconds from SIGTERM to the end of the process, each time.
        revivals: how often it had ended by itself.
    """

    def __init__(
        self, name: str, command: list[str], environment: dict[str, str], log: Path, is_up: Callable[[], bool]
    ) -> None:
        self.name = name
        self.endings: list[float] = []
        self.revivals = 0
        self._command = command
        self._environment = environment
        self._log = log
        self._is_up = is_up
        self._process: subprocess.Popen[bytes] | None = None
        self._absences: list[tuple[float, float]] = []
        self._away_since: float | None = None
        self._wanted = False
        self._lock = threading.RLock()

    @property
    def pid(self) -> int:
        """Return the running process's id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start a process and return."""
        with self._lock, self._log.open("ab") as output:
            self._wanted = True
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=output, stderr=output)

    def wait_until_up(self) -> None:
        """Return when the process does its work.

        Raises:
            AssertionError: if it does not in time, or has ended.
        """
        deadline = time.monotonic() + _UP_SECONDS
        while not self._is_up():
            assert time.monotonic() < deadline, f"{self.name} does not come up; see {self._log}"
            time.sleep(_LOOK_SECONDS)
        self._arrived()

    def kill(self) -> None:
        """End the process without a word."""
        self._leaves()
        os.kill(self.pid, signal.SIGKILL)
        self._wait()

    def end(self) -> None:
        """Ask the process to end, and return when it has.

        Raises:
            AssertionError: if it does not in time; then it is killed.
        """
        self._leaves()
        began = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        try:
            self._wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} does not end after SIGTERM; see {self._log}") from None
        self.endings.append(time.monotonic() - began)

    def freeze(self) -> None:
        """Let the process stand still."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def discard(self) -> None:
        """End whatever there is, in any way."""
        self._wanted = False
        if self._process is None or self._process.poll() is not None:
            return
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def revive(self) -> None:
        """Start the process again if it has ended by itself."""
        with self._lock:
            if self._wanted and self._process is not None and self._process.poll() is not None:
                self.revivals += 1
                self.start()

    def was_away(self, since: float) -> bool:
        """Return whether there was no working process at some moment since then."""
        with self._lock:
            return self._away_since is not None or any(end >= since for _, end in self._absences[-3:])

    def _leaves(self) -> None:
        with self._lock:
            self._wanted = False
            self._away_since = self._away_since or time.monotonic()

    def _arrived(self) -> None:
        with self._lock:
            if self._away_since is not None:
                self._absences.append((self._away_since, time.monotonic()))
            self._away_since = None

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(_END_SECONDS)
