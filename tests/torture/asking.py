"""How a client asks while things break: elsewhere after a refusal, and strict about what it may be told."""

import json
import random
import threading
import time
from typing import Any

import httpx2

from tests.torture.ledger import Ledger
from tests.torture.stage import Stage

_TIMEOUT_SECONDS = 45.0
_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0  # a client of a test comes back sooner than it is told


class TimeIsUp(Exception):  # noqa: N818 - read by the client
    """There is no time left for another attempt."""


class Asker:
    """Sends requests to one front end and another, until one answers.

    Args:
        stage: where the front ends are.
        ledger: where refusals and complaints go.
        given_up: set when it makes no sense to go on.
        draw: chooses front ends.
    """

    def __init__(self, stage: Stage, ledger: Ledger, given_up: threading.Event, draw: random.Random) -> None:
        self._stage = stage
        self._ledger = ledger
        self._given_up = given_up
        self._draw = draw
        self._clients = {
            address: httpx2.Client(base_url=address, timeout=_TIMEOUT_SECONDS) for address in stage.front_ends
        }

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def ask(self, method: str, path: str, **options: Any) -> tuple[httpx2.Response, int]:
        """Return the first answer that is no 503, and how many attempts came before it.

        Raises:
            TimeIsUp: if there is none.
        """
        attempts = 0
        while not self._given_up.is_set():
            address = self._draw.choice(list(self._clients))
            began = time.monotonic()
            try:
                answer = self._clients[address].request(method, path, **options)
            except httpx2.TransportError as error:
                self._lost(address, began, f"{method} {path}: {error!r}")
                pause = _PAUSE_SECONDS
            else:
                if answer.status_code != 503:
                    return answer, attempts
                pause = self._refused(f"{method} {path}", answer)
            attempts += 1
            self._given_up.wait(pause)
        raise TimeIsUp

    def follow(self, path: str) -> str:
        """Read events until an explanation has ended or the connection is lost; return the last event's name."""
        address, last = self._draw.choice(list(self._clients)), ""
        began = time.monotonic()
        try:
            with self._clients[address].stream("GET", f"{path}/events") as answer:
                if answer.status_code == 503:
                    answer.read()
                    self._given_up.wait(self._refused(f"GET {path}/events", answer))
                    return ""
                for line in answer.iter_lines():
                    last = line.removeprefix("event: ") if line.startswith("event: ") else last
                    if self._given_up.is_set():
                        raise TimeIsUp
        except httpx2.TransportError as error:
            self._lost(address, began, f"GET {path}/events: {error!r}")
            self._given_up.wait(_PAUSE_SECONDS)
        return last

    def _lost(self, address: str, began: float, what: str) -> None:
        if self._stage.front_ends[address].was_away(began):
            self._ledger.refuse("no front end there")
        else:
            self._ledger.complain("a front end that lives does not answer", f"{address} {what}")

    def _refused(self, what: str, answer: httpx2.Response) -> float:
        """Return how long to wait after a 503."""
        said = answer.headers.get("retry-after", "")
        try:
            code = answer.json()["code"]
        except (json.JSONDecodeError, KeyError):
            code = ""
        if not said.isdigit() or not code:
            self._ledger.complain("a 503 without a reason or a time to come back", f"{what}: {answer.text[:200]}")
            return _PAUSE_SECONDS
        self._ledger.refuse(code)
        return min(float(said), _LONGEST_PAUSE_SECONDS)
