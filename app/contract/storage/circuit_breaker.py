"""A breaker before a store that may fall silent: its callers are refused at once instead of waiting, all but one.

Whoever waits holds a thread, and the threads of a front end are few: without this, requests for a store that does not
answer would keep from being served those that need none.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.contract.errors import BlobNotFoundError, StorageError


class CircuitBreaker:
    """Lets calls through, and while none is answered only one at a time, to see when the store is back.

    Args:
        silence_seconds: a call that fails sooner was answered.
    """

    def __init__(self, *, silence_seconds: float = 1.0) -> None:
        self._silence_seconds = silence_seconds
        self._silent = False
        self._probing = threading.Lock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Run a call, unless it would only wait.

        Raises:
            StorageError: what the call raises, or at once.
        """
        if not self._silent:
            with self._watched():
                yield
            return
        if not self._probing.acquire(blocking=False):
            raise StorageError("the storage does not answer")
        try:
            with self._watched():
                yield
        finally:
            self._probing.release()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except StorageError:
            self._silent = time.monotonic() - began >= self._silence_seconds
            raise
        except BlobNotFoundError:  # because that is an answer
            self._silent = False
            raise
        self._silent = False
