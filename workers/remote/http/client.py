"""HTTP client of model servers: bounded concurrency, bounded time and size, retries, and errors that name the server.

The id of the request that led to an explanation is sent as `X-Request-ID`; nothing else of a client is.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from threading import Event
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx2
from pydantic import BaseModel, ValidationError

from app.contract.log_context import current_log_context
from workers.blackbox import BlackBoxError
from workers.remote.http.options import ConnectionOptions, headers_of
from workers.supervision.current_attempt import signal_progress

Item = TypeVar("Item")
Result = TypeVar("Result")
Body = TypeVar("Body", bound=BaseModel)

_MAX_RESPONSE_BYTES = 2**30
_MAX_MESSAGE = 300  # characters of a server's error message that are passed on
_TRANSIENT = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_FIRST_PAUSE_SECONDS = 0.05  # doubled with every attempt
_MAX_PAUSE_SECONDS = 2.0


class PermanentServerError(BlackBoxError):
    """A server refuses a request as such: sending it again has no use."""


@dataclass(frozen=True)
class HttpRequest:
    """One request.

    Attributes:
        url: absolute.
        content: the body; None makes it a GET.
        headers: in addition to those of the client.
    """

    url: str
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HttpResponse:
    """A response, read to its end.

    Attributes:
        status: its status code.
        headers: their names in any case.
        content: the body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


Outcome = HttpResponse | httpx2.RequestError


class ModelServerClient:
    """Sends requests to one server, a few at once. Redirects are not followed.

    Raises:
        ValueError: if a header's environment variable is not set.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        self._options = options
        self._client = httpx2.Client(
            headers={"accept-encoding": "identity", **headers_of(options)},
            timeout=httpx2.Timeout(options.answer_seconds, connect=options.connect_seconds),
            limits=httpx2.Limits(max_connections=options.concurrency),
            follow_redirects=False,
        )
        self._threads = ThreadPoolExecutor(options.concurrency, thread_name_prefix="remote")

    def map_concurrent(self, function: Callable[[Item, Event], Result], items: Sequence[Item]) -> list[Result]:
        """Return the result of a function for each item, in their order, several at once.

        Args:
            function: called in a thread, with an event that is set once its result is not needed any more.
            items: its first arguments.

        Raises:
            BlackBoxError: the first that the function raises.
        """
        cancelled = Event()
        futures = [self._threads.submit(copy_context().run, function, item, cancelled) for item in items]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return [future.result() for future in futures]
        finally:
            cancelled.set()
            for future in futures:
                future.cancel()

    def send(self, request: HttpRequest, cancelled: Event | None = None) -> HttpResponse:
        """Return the response with status 200 to a request, after retries where attempts fail.

        Args:
            request: the request.
            cancelled: ends the pause between attempts.

        Raises:
            BlackBoxError: naming the server and what was wrong.
        """
        cancelled = cancelled or Event()
        for attempt in range(1, self._options.retries + 2):
            outcome = self._attempt(request)
            if isinstance(outcome, HttpResponse):
                signal_progress()  # because Retry-After may be longer than the watchdog lets a model be silent
                if outcome.status == HTTPStatus.OK:
                    return outcome
            if not is_transient(outcome) or retry_after_seconds(outcome) > self._options.longest_wait_seconds:
                break
            if attempt <= self._options.retries and cancelled.wait(pause_after(attempt, outcome)):
                break
        tried = f" (tried {attempt} times)" if attempt > 1 else ""
        permanent = isinstance(outcome, HttpResponse) and not is_transient(outcome)
        kind = PermanentServerError if permanent else BlackBoxError
        raise kind(f"{redacted_url(request.url)} {self._describe(outcome)}{tried}")

    def _attempt(self, request: HttpRequest) -> Outcome:
        deadline = time.monotonic() + self._options.answer_seconds
        method = "GET" if request.content is None else "POST"
        headers = {**_request_id_header(), **request.headers}
        try:
            with self._client.stream(method, request.url, content=request.content, headers=headers) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    _check_limits(len(content), deadline)
                return HttpResponse(response.status_code, response.headers, bytes(content))
        except httpx2.RequestError as cause:
            return cause

    def _describe(self, outcome: Outcome) -> str:
        if isinstance(outcome, HttpResponse):
            return _describe_response(outcome)
        if isinstance(outcome, httpx2.ConnectTimeout):
            return f"took no connection within {self._options.connect_seconds:g} s"
        if isinstance(outcome, httpx2.TimeoutException):
            return f"did not answer within {self._options.answer_seconds:g} s"
        if isinstance(outcome, httpx2.ConnectError):
            return f"cannot be reached: {outcome}"
        if isinstance(outcome, httpx2.NetworkError | httpx2.RemoteProtocolError):
            return f"broke the connection: {outcome or type(outcome).__name__}"
        return f"gave no answer that can be read: {outcome}"


def _request_id_header() -> dict[str, str]:
    """Return the header that relates the server's log lines to those of the request that led to them."""
    context = current_log_context()
    return {"x-request-id": context["request_id"]} if "request_id" in context else {}


def _check_limits(length: int, deadline: float) -> None:
    """Bound the time and the size of a response that is sent slowly, or without end."""
    if time.monotonic() > deadline:
        raise httpx2.ReadTimeout("the answer has not ended")
    if length > _MAX_RESPONSE_BYTES:
        raise httpx2.DecodingError(f"it is longer than {_MAX_RESPONSE_BYTES:,} bytes")


def _describe_response(response: HttpResponse) -> str:
    status = response.status
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"answered {status}, a redirection, which is not followed; write its final address as the source"
    message = " ".join(response.content[: 4 * _MAX_MESSAGE].decode(errors="replace").split())[:_MAX_MESSAGE]
    pause = retry_after_seconds(response)
    suffix = f" (and asks to wait {pause:g} s)" if pause > 0 else ""
    return f"answered {status}: {message or 'without a word'}{suffix}"


def is_transient(outcome: Outcome) -> bool:
    """Return whether the same request may succeed later.

    A response that is late is no reason to send again: the server has the request, and would process it twice.
    """
    if isinstance(outcome, HttpResponse):
        return outcome.status in _TRANSIENT
    return isinstance(outcome, httpx2.NetworkError | httpx2.ConnectTimeout | httpx2.RemoteProtocolError)


def pause_after(attempt: int, outcome: Outcome) -> float:
    """Return the seconds to wait after a failed attempt, counted from 1: exponential, or longer as Retry-After says."""
    backoff = min(_MAX_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(attempt - 1, 16))
    return max(backoff, retry_after_seconds(outcome))


def retry_after_seconds(outcome: Outcome) -> float:
    """Return the seconds that a `Retry-After` asks for (RFC 9110, section 10.2.3); 0 where there is none."""
    value = outcome.headers.get("retry-after", "").strip() if isinstance(outcome, HttpResponse) else ""
    if value.isdecimal():
        return float(value)
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return 0.0


def validated(kind: type[Body], text: bytes) -> Body:
    """Return a JSON body as a model.

    Args:
        kind: the model.
        text: JSON; may hold NaN, because servers write it.

    Raises:
        ValueError: continuing "the server ...", for text that is no JSON or does not fit the model.
    """
    try:
        return kind.model_validate(json.loads(text))
    except ValidationError as cause:
        first = cause.errors()[0]
        place = ".".join(map(str, first["loc"])) or "a body"
        raise ValueError(f"gave an answer with {place} amiss: {first['msg']}") from cause
    except ValueError as cause:
        raise ValueError(f"gave an answer that is no JSON: {text[:100].decode(errors='replace')!r}") from cause


@contextmanager
def server_context(url: str) -> Iterator[None]:
    """Put a server's address before the message of what is raised when its response is interpreted.

    Raises:
        BlackBoxError: "http://host/... gave NaN".
    """
    try:
        yield
    except BlackBoxError:
        raise
    except (ValueError, RuntimeError, IndexError) as cause:  # because tensors that do not fit raise any of these
        raise BlackBoxError(f"{redacted_url(url)} {cause}") from cause


def redacted_url(url: str) -> str:
    """Return an address without what may be secret: user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def check_address(url: str) -> None:
    """Check that a source is an address.

    Raises:
        ValueError: if it is none, or carries a password.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"source = {url.rpartition('@')[2]!r}: write it as http://host:port/...")
    if "@" in parts.netloc:
        words = "name no user and password in the address; put a header into options.headers_from_environment"
        raise ValueError(f"source = {redacted_url(url)!r}: {words}")
