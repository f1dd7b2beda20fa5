"""When a request is sent again, and how often the client polls."""

import asyncio
import time

import httpx2

_RETRIED = {429, 502, 503, 504}
_OUR_OWN_FAULT = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
_FIRST_POLL_SECONDS = 0.2
_LONGEST_POLL_SECONDS = 1.0


def retry_delay(outcome: httpx2.Response | httpx2.TransportError, attempt: int) -> float | None:
    """Return how many seconds to wait before a request is sent again; None where that makes no sense.

    Args:
        outcome: of the last attempt.
        attempt: its number, from 0.
    """
    if not _may_pass(outcome):
        return None
    said: str = outcome.headers.get("Retry-After", "") if isinstance(outcome, httpx2.Response) else ""
    if said.isdigit():
        return max(float(said), _FIRST_DELAY_SECONDS)
    return min(_FIRST_DELAY_SECONDS * 2.0**attempt, _LONGEST_DELAY_SECONDS)


def _may_pass(outcome: httpx2.Response | httpx2.TransportError) -> bool:
    if isinstance(outcome, httpx2.Response):
        return outcome.status_code in _RETRIED
    return not isinstance(outcome, _OUR_OWN_FAULT)


class PollBackoff:
    """Keeps polls apart, at first by 0.2 s, so that short waits stay short, then by up to 1 s.

    A service may answer at once, whatever it was asked to wait for. A poll that took longer than that is followed by
    the next one at once.
    """

    def __init__(self) -> None:
        self._next = time.monotonic()
        self._seconds = _FIRST_POLL_SECONDS

    async def wait(self, deadline: float = float("inf")) -> None:
        """Wait until the next poll may begin, the first one at once; no longer than until `deadline`, monotonic."""
        await asyncio.sleep(max(0.0, min(self._next, deadline) - time.monotonic()))
        self._next = time.monotonic() + self._seconds
        self._seconds = min(2 * self._seconds, _LONGEST_POLL_SECONDS)
