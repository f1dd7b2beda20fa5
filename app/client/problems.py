"""Refusals of the service as exceptions, and when to try again."""

from typing import Any

import httpx2

_TRIED_AGAIN = {429, 502, 503, 504}
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


class ServiceError(Exception):
    """The service refused a request, or an explanation did not succeed.

    Attributes:
        code: the problem's code, such as `unknown-name`, or the status of an explanation that did not succeed.
        detail: the reason in a sentence.
        status: HTTP status; None where an explanation failed.
        errors: fields at fault, each with `field` (JSON pointer) and `detail`.
    """

    def __init__(
        self, code: str, detail: str, *, status: int | None = None, errors: list[dict[str, str]] | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.status = status
        self.errors = errors or []


def refuse(response: httpx2.Response) -> None:
    """Raise what a response says is wrong.

    Raises:
        ServiceError: for every status from 400 on.
    """
    if response.status_code < 400:
        return
    problem = _problem(response)
    raise ServiceError(
        problem.get("code", f"http-{response.status_code}"),
        problem.get("detail", response.reason_phrase),
        status=response.status_code,
        errors=problem.get("errors"),
    )


def _problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except ValueError:  # because a proxy in between answers in its own words
        return {}
    return problem if isinstance(problem, dict) else {}


def pause_before_retry(outcome: httpx2.Response | httpx2.TransportError, attempt: int) -> float | None:
    """Return how many seconds to wait before a request is sent again; None where that makes no sense.

    Every request of this client may be sent twice: an explanation is named by what was asked.
    """
    pause: float = min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS)
    if isinstance(outcome, httpx2.TransportError):
        return pause
    if outcome.status_code not in _TRIED_AGAIN:
        return None
    said: str = outcome.headers.get("Retry-After", "")
    return float(said) if said.isdigit() else pause
