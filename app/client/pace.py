"""How often the client comes back for news: a service may answer at once, whatever it was asked to wait for."""

import time

import anyio

_FIRST_SECONDS = 0.2
_LONGEST_SECONDS = 1.0


class Pace:
    """Keeps the rounds of a loop apart: at first by 0.2 s, so that short waits stay quick, then by up to 1 s.

    A round that took longer than that is followed at once.
    """

    def __init__(self) -> None:
        self._next = time.monotonic()
        self._seconds = _FIRST_SECONDS

    async def begin_round(self, latest: float = float("inf")) -> None:
        """Wait until the next round may begin, the first one at once; no longer than until `latest`, monotonic."""
        await anyio.sleep(max(0.0, min(self._next, latest) - time.monotonic()))
        self._next = time.monotonic() + self._seconds
        self._seconds = min(2 * self._seconds, _LONGEST_SECONDS)
