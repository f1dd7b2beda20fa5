"""Refusals of the service as exceptions, and when to try again."""

from typing import Any

import httpx2

_TRIED_AGAIN = {429, 502, 503, 504}
_REFUSED_AT_ONCE = {429, 503}
_OUR_OWN_FAULT = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
_NOT_CONNECTED = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
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


def is_refusal(response: httpx2.Response) -> bool:
    """Return whether a response is an error, or not the service's, which neither redirects nor answers with pages."""
    return not response.is_success or _media_type(response) == "text/html"


def refuse(response: httpx2.Response) -> None:
    """Raise what a response says is wrong.

    Raises:
        ServiceError: with the problem, or with what came instead of an answer of the service.
    """
    if not is_refusal(response):
        return
    problem = _problem(response)
    if problem is None:
        raise unexpected(response)
    raise ServiceError(problem["code"], problem["detail"], status=response.status_code, errors=problem.get("errors"))


def unexpected(response: httpx2.Response) -> ServiceError:
    """Return the error for an answer that is not of the service: of a proxy in between, or of another program."""
    address = response.url.copy_with(userinfo=b"", query=None)
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    came = f"{address} answered {status} with {_media_type(response) or 'no content type'}"
    target = f" and leads to {response.headers['Location']}" if response.has_redirect_location else ""
    doubt = ", not as rise-serve does: is the address right?" if response.status_code < 500 else ""
    return ServiceError(f"http-{response.status_code}", came + target + doubt, status=response.status_code)


def _problem(response: httpx2.Response) -> dict[str, Any] | None:
    """Return the problem in a response; None where it is not the service that answers."""
    if _media_type(response) != "application/problem+json":
        return None
    try:
        problem = response.json()
    except ValueError:
        return None
    return problem if isinstance(problem, dict) and {"code", "detail"} <= problem.keys() else None


def _media_type(response: httpx2.Response) -> str:
    said: str = response.headers.get("Content-Type", "")
    return said.partition(";")[0].strip().lower()


def pause_before_retry(
    outcome: httpx2.Response | httpx2.TransportError, attempt: int, *, repeatable: bool
) -> float | None:
    """Return how many seconds to wait before a request is sent again; None where that makes no sense.

    Args:
        outcome: of the last attempt.
        attempt: its number, from 0.
        repeatable: whether the request may be carried out twice.
    """
    if not (_may_pass(outcome) and (repeatable or _was_not_carried_out(outcome))):
        return None
    said: str = outcome.headers.get("Retry-After", "") if isinstance(outcome, httpx2.Response) else ""
    if said.isdigit():
        return max(float(said), _FIRST_PAUSE_SECONDS)
    return min(_FIRST_PAUSE_SECONDS * 2.0**attempt, _LONGEST_PAUSE_SECONDS)


def _may_pass(outcome: httpx2.Response | httpx2.TransportError) -> bool:
    if isinstance(outcome, httpx2.Response):
        return outcome.status_code in _TRIED_AGAIN
    return not isinstance(outcome, _OUR_OWN_FAULT)


def _was_not_carried_out(outcome: httpx2.Response | httpx2.TransportError) -> bool:
    if isinstance(outcome, httpx2.Response):
        return outcome.status_code in _REFUSED_AT_ONCE and _problem(outcome) is not None
    return isinstance(outcome, _NOT_CONNECTED)
