"""Clients: each takes one errand after the other, and complains of whatever a client must not see."""

import io
import json
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np

from tests.torture.asking import Asker, TimeIsUp
from tests.torture.ledger import Entry, Ledger, Map
from tests.torture.requests import Errand, Question
from tests.torture.stage import Stage

_ENDS = {"succeeded", "failed", "cancelled"}
_ORDER = {"queued": 0, "running": 1, "succeeded": 2, "failed": 2, "cancelled": 2}
_HELD_SECONDS = 3


class Client:
    """Does errands.

    Args:
        stage: where the service is.
        ledger: where everything is taken down.
        asked: the questions that errands are about.
        given_up: set when it makes no sense to go on.
    """

    def __init__(self, stage: Stage, ledger: Ledger, asked: list[Question], given_up: threading.Event) -> None:
        self._stage = stage
        self._ledger = ledger
        self._asked = asked
        self._given_up = given_up

    def work(self, errands: Iterator[Errand], over: threading.Event) -> None:
        """Do errands until it is over; the last one is brought to its end."""
        while not over.is_set():
            errand = next(errands)
            asker = Asker(self._stage, self._ledger, self._given_up, random.Random(f"client {errand.number}"))
            try:
                _Visit(asker, self._ledger, self._asked[errand.question], errand).run()
            except TimeIsUp:
                return
            finally:
                asker.close()


class _Visit:
    """One errand, from its first request to the map."""

    def __init__(self, asker: Asker, ledger: Ledger, question: Question, errand: Errand) -> None:
        self._asker = asker
        self._ledger = ledger
        self._question = question
        self._errand = errand
        self._seen = "queued"
        self._draw = random.Random(f"visit {errand.number}")

    def run(self) -> None:
        entry = self._submit()
        if entry is None:
            return
        here = f"/v1/explanations/{entry.explanation_id}"
        leaves_at = time.monotonic() + self._errand.patience_seconds
        while True:
            if self._errand.ending != "waited for" and time.monotonic() >= leaves_at:
                if self._leave(entry, here):
                    return
                leaves_at = float("inf")
            body = self._look(here)
            if body is not None and body["status"] in _ENDS:
                self._take(entry, body)
                return

    def _submit(self) -> Entry | None:
        fields = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in self._question.fields.items()
        }
        request: dict[str, Any] = {"files": {"image": self._errand.image(self._question)}, "data": fields}
        ids = []
        for _ in range(2 if self._errand.asks_twice else 1):
            answer, _ = self._asker.ask("POST", "/v1/explanations", **request)
            if answer.status_code not in {200, 202}:
                self._ledger.complain("a request that is right is refused", f"{answer.status_code} {answer.text[:300]}")
                return None
            ids.append(answer.json()["id"])
            if len(ids) == 1:
                entry = self._ledger.accept(ids[0], self._errand.question)
        if len(set(ids)) > 1:
            self._ledger.complain("the same request is two explanations", " ".join(ids))
        return entry

    def _look(self, here: str) -> dict[str, Any] | None:
        """Return what a reading says; None where it says that nobody should be told."""
        if self._errand.looking == "followed":
            self._asker.follow(here)
        held = {"params": {"wait": _HELD_SECONDS}} if self._errand.looking == "held" else {}
        answer, _ = self._asker.ask("GET", here, **held)
        if answer.status_code != 200:
            self._ledger.complain("what was accepted is not there", f"{here}: {answer.status_code} {answer.text[:200]}")
            time.sleep(1)
            return None
        body: dict[str, Any] = answer.json()
        if _ORDER[body["status"]] < _ORDER[self._seen]:
            self._ledger.complain("an explanation goes back", f"{here}: {self._seen}, then {body['status']}")
        self._seen = body["status"]
        if self._seen == "running" and self._draw.random() < 0.2:
            self._look_at_running_map(here)
        if self._errand.looking == "polled" and self._seen not in _ENDS:
            time.sleep(self._draw.uniform(0.05, 0.4))
        return body

    def _look_at_running_map(self, here: str) -> None:
        answer, _ = self._asker.ask("GET", f"{here}/maps/0.npy")
        if answer.status_code == 409:
            return
        complaint = f"{here}: {answer.status_code} {answer.text[:200] if answer.status_code != 200 else ''}"
        try:
            whole = answer.status_code == 200 and bool(np.isfinite(read_map(answer)).all())
        except ValueError as error:
            whole, complaint = False, f"{here}: {error}"
        if not whole:
            self._ledger.complain("a running map is not whole", complaint)

    def _leave(self, entry: Entry, here: str) -> bool:
        """Cancel or delete; return whether there is nothing left to wait for."""
        if self._errand.ending == "cancelled":
            answer, _ = self._asker.ask("POST", f"{here}/cancel")
            if answer.status_code != 202:
                self._ledger.complain("what was accepted cannot be cancelled", f"{here}: {answer.status_code}")
            return False
        answer, attempts = self._asker.ask("DELETE", here)
        if answer.status_code != 204 and not (answer.status_code == 404 and attempts):
            self._ledger.complain("what was accepted cannot be deleted", f"{here}: {answer.status_code}")
        entry.fate = "deleted"
        return True

    def _take(self, entry: Entry, body: dict[str, Any]) -> None:
        if body["status"] == "failed":
            entry.failure, entry.fate = body["error"]["code"], "failed"
        elif body["status"] == "cancelled":
            if self._errand.ending != "cancelled":
                self._ledger.complain("nobody had cancelled it", entry.explanation_id)
            entry.fate = "cancelled"
        else:
            maps = fetch_maps(self._asker, self._ledger, entry.explanation_id, len(body["targets"]))
            self._ledger.succeed(entry, body["provenance"]["masks_used"], maps)


def fetch_maps(asker: Asker, ledger: Ledger, explanation_id: str, targets: int) -> list[Map]:
    """Return the maps of an explanation that has succeeded; one that cannot be had is a complaint."""
    maps = []
    for index in range(targets):
        answer, _ = asker.ask("GET", f"/v1/explanations/{explanation_id}/maps/{index}.npy")
        if answer.status_code == 200:
            maps.append(read_map(answer))
        else:
            ledger.complain("a map is not there", f"{explanation_id} {index}: {answer.status_code} {answer.text[:200]}")
    return maps


def read_map(answer: httpx2.Response) -> Map:
    """Return the array in a response.

    Raises:
        ValueError: if it is not whole.
    """
    array: Map = np.load(io.BytesIO(answer.content), allow_pickle=False)
    return array
