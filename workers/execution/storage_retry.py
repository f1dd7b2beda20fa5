"""What a worker does while the object store is away or full: it waits, for a bounded time."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from app.contract.errors import StorageError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0


def retry_while_storage_down(attempt: Callable[[], T], *, seconds: float, pause: Callable[[float], None]) -> T:
    """Return what an attempt returns, made again with growing pauses for as long as the object store fails it.

    Args:
        attempt: what needs the object store.
        seconds: how long to go on.
        pause: waits for so many seconds; raises whatever is to end the waiting.

    Raises:
        StorageError: the last one, when the time is up.
    """
    given_up_at, next_pause = time.monotonic() + seconds, _FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except StorageError as error:
            if time.monotonic() + next_pause > given_up_at:
                raise
            logger.warning("waiting for the storage: %s", error.detail)
        pause(next_pause)
        next_pause = min(2 * next_pause, _LONGEST_PAUSE_SECONDS)
