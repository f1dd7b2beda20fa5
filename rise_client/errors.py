"""What the service refuses, and what is not its answer, as exceptions."""

from typing import Any

import httpx2


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


def is_error(response: httpx2.Response) -> bool:
    """Return whether a response is an error, or not the service's.

    The service does not redirect, and its only pages here are reports, which may load nothing.
    """
    is_page = _media_type(response) == "text/html"
    is_report = response.headers.get("Content-Security-Policy", "").startswith("default-src 'none'")
    return not response.is_success or (is_page and not is_report)


def raise_for_problem(response: httpx2.Response) -> None:
    """Raise what a response says is wrong.

    Raises:
        ServiceError: with the problem, or with what came instead of an answer of the service.
    """
    if not is_error(response):
        return
    problem = problem_in(response)
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


def problem_in(response: httpx2.Response) -> dict[str, Any] | None:
    """Return the problem details (RFC 9457) in a response; None where it is not the service that answers."""
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
