"""A connection to a model's server: bounded requests at once, bounded waiting, and words for everything that fails.

The id of the request that asked for an explanation goes along as `X-Request-ID`; nothing else of a caller does.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event
from typing import TypeVar

import httpx2

from app.contract.log_context import current_log_context
from workers.blackbox import BlackBoxError
from workers.remote.http.errors import PermanentServerError
from workers.remote.http.options import ConnectionOptions, headers_of
from workers.remote.http.response import HttpResponse
from workers.remote.http.retry import RetryOutcome, asked_pause, is_transient, pause_after
from workers.remote.http.url import shown
from workers.supervision.current_attempt import show_life

Item = TypeVar("Item")
Result = TypeVar("Result")

_LARGEST_ANSWER = 2**30  # bytes
_WORDS = 300  # characters of a server's own words that are passed on


@dataclass(frozen=True)
class HttpRequest:
    """One request.

    Attributes:
        url: where to.
        content: the body; None makes it a GET.
        headers: beside those of the connection.
    """

    url: str
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ModelServerClient:
    """Speaks to one server, a few requests at once. Redirects are not followed.

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

    def together(self, ask: Callable[[Item, Event], Result], items: Sequence[Item]) -> list[Result]:
        """Return what `ask` makes of each item, in their order, several at once.

        Args:
            ask: called in a thread, with an event that is set as soon as what it does has become pointless.
            items: what to ask about.

        Raises:
            BlackBoxError: the first that `ask` raises.
        """
        abandoned = Event()
        futures = [self._threads.submit(copy_context().run, ask, item, abandoned) for item in items]
        try:
            ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
            return [future.result() for future in futures]
        finally:
            abandoned.set()
            for future in futures:
                future.cancel()

    def ask(self, question: HttpRequest, abandoned: Event | None = None) -> HttpResponse:
        """Return the answer to a request, after as many attempts as it takes.

        Args:
            question: the request.
            abandoned: ends the waiting between attempts.

        Raises:
            BlackBoxError: naming the server and what was wrong.
        """
        abandoned = abandoned or Event()
        for attempt in range(1, self._options.retries + 2):
            outcome = self._attempt(question)
            if isinstance(outcome, HttpResponse):
                show_life()  # because a server may ask to wait for longer than a model may be silent
                if outcome.status == HTTPStatus.OK:
                    return outcome
            if not is_transient(outcome) or asked_pause(outcome) > self._options.longest_wait_seconds:
                break
            if attempt <= self._options.retries and abandoned.wait(pause_after(attempt, outcome)):
                break
        tried = f" (tried {attempt} times)" if attempt > 1 else ""
        kind = (
            PermanentServerError if isinstance(outcome, HttpResponse) and not is_transient(outcome) else BlackBoxError
        )
        raise kind(f"{shown(question.url)} {self._what_was_wrong(outcome)}{tried}")

    def _attempt(self, question: HttpRequest) -> RetryOutcome:
        deadline = time.monotonic() + self._options.answer_seconds
        method = "GET" if question.content is None else "POST"
        headers = {**_request_id(), **question.headers}
        try:
            with self._client.stream(method, question.url, content=question.content, headers=headers) as response:
                content = bytearray()
                for part in response.iter_bytes():
                    content += part
                    _check(len(content), deadline)
                return HttpResponse(response.status_code, response.headers, bytes(content))
        except httpx2.RequestError as cause:
            return cause

    def _what_was_wrong(self, outcome: RetryOutcome) -> str:
        if isinstance(outcome, HttpResponse):
            return _bad_answer(outcome)
        if isinstance(outcome, httpx2.ConnectTimeout):
            return f"took no connection within {self._options.connect_seconds:g} s"
        if isinstance(outcome, httpx2.TimeoutException):
            return f"did not answer within {self._options.answer_seconds:g} s"
        if isinstance(outcome, httpx2.ConnectError):
            return f"cannot be reached: {outcome}"
        if isinstance(outcome, httpx2.NetworkError | httpx2.RemoteProtocolError):
            return f"broke the connection: {outcome or type(outcome).__name__}"
        return f"gave no answer that can be read: {outcome}"


def _request_id() -> dict[str, str]:
    """Return the header that lets a server's log lines be found from those of the request that led to them."""
    names = current_log_context()
    return {"x-request-id": names["request_id"]} if "request_id" in names else {}


def _check(length: int, deadline: float) -> None:
    """Bound an answer that comes drop by drop, or without an end."""
    if time.monotonic() > deadline:
        raise httpx2.ReadTimeout("the answer has not ended")
    if length > _LARGEST_ANSWER:
        raise httpx2.DecodingError(f"it is longer than {_LARGEST_ANSWER:,} bytes")


def _bad_answer(answer: HttpResponse) -> str:
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        return f"answered {answer.status}, a redirection, which is not followed; write its final address as the source"
    told = " ".join(answer.content[: 4 * _WORDS].decode(errors="replace").split())[:_WORDS]
    pause = asked_pause(answer)
    asked = f" (and asks to wait {pause:g} s)" if pause > 0 else ""
    return f"answered {answer.status}: {told or 'without a word'}{asked}"
