"""A circuit breaker for a store that may stop answering: while it is open, all calls but one fail at once.

A call that waits holds a thread of the front end, of which there are 40: without the breaker, requests that need the
store would take the threads of those that do not.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.contract.errors import BlobNotFoundError, StorageError


class CircuitBreaker:
    """Passes calls on; while the store does not answer, only one at a time, as a probe.

    Args:
        silence_seconds: a call that fails sooner counts as answered.
    """

    def __init__(self, *, silence_seconds: float = 1.0) -> None:
        self._silence_seconds = silence_seconds
        self._open = False
        self._probing = threading.Lock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Run a call, or refuse it while the breaker is open.

        Raises:
            StorageError: what the call raises, or at once.
        """
        if not self._open:
            with self._measured():
                yield
            return
        if not self._probing.acquire(blocking=False):
            raise StorageError("the storage does not answer")
        try:
            with self._measured():
                yield
        finally:
            self._probing.release()

    @contextmanager
    def _measured(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except StorageError:
            self._open = time.monotonic() - began >= self._silence_seconds
            raise
        except BlobNotFoundError:  # because that is an answer
            self._open = False
            raise
        self._open = False
