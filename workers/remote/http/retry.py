"""When a request is worth another attempt, and after which pause."""

import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx2

from workers.remote.http.response import HttpResponse

_FOR_A_WHILE = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_FIRST_PAUSE = 0.05  # seconds; doubled with every attempt
_LONGEST_PAUSE = 2.0


RetryOutcome = HttpResponse | httpx2.RequestError


def is_transient(outcome: RetryOutcome) -> bool:
    """Return whether the same request may go better in a moment.

    A late answer is no reason to ask again: the server has got the request, and would work on it twice.
    """
    if isinstance(outcome, HttpResponse):
        return outcome.status in _FOR_A_WHILE
    return isinstance(outcome, httpx2.NetworkError | httpx2.ConnectTimeout | httpx2.RemoteProtocolError)


def pause_after(attempt: int, outcome: RetryOutcome) -> float:
    """Return the seconds to wait after a failed attempt, counted from 1: ours, or more where the server asks for it."""
    ours = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempt - 1, 16))
    return max(ours, asked_pause(outcome))


def asked_pause(outcome: RetryOutcome) -> float:
    """Return the seconds that a `Retry-After` asks for (RFC 9110, section 10.2.3); 0 where there is none."""
    asked = outcome.headers.get("retry-after", "").strip() if isinstance(outcome, HttpResponse) else ""
    if asked.isdecimal():
        return float(asked)
    try:
        until: datetime = parsedate_to_datetime(asked)
        return until.timestamp() - time.time()
    except ValueError:
        return 0.0
