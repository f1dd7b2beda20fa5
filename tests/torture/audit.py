"""What has ended stays as it was: looked at now and then while things break, and once more when all is calm.

Nothing is left of the work then.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from redis import Redis

from tests.torture.asking import Asker, TimeIsUp
from tests.torture.clients import fetch_maps
from tests.torture.ledger import Entry, Ledger
from tests.torture.stage import Stage

_SECONDS = 90.0
_LOOK_SECONDS = 0.5
_PAUSE_SECONDS = 0.1
_LATELY = 8


def keep_looking(stage: Stage, ledger: Ledger, over: threading.Event) -> None:
    """Read again what has ended lately, until it is over: a worker that wakes up late may spoil it for a moment."""
    draw = random.Random("audit")
    asker = Asker(stage, ledger, over, draw)
    while not over.wait(_PAUSE_SECONDS):
        ended = [entry for entry in ledger.entries if entry.fate][-_LATELY:]
        if ended:
            with suppress(TimeIsUp):
                _look(asker, ledger, draw.choice(ended))
    asker.close()


def look_again(stage: Stage, ledger: Ledger) -> None:
    """Read every explanation once more, at any front end; complain of what has changed."""
    given_up = threading.Event()
    timer = threading.Timer(_SECONDS, given_up.set)
    timer.start()
    asker = Asker(stage, ledger, given_up, random.Random("audit"))
    try:
        for entry in ledger.entries:
            _look(asker, ledger, entry)
    except TimeIsUp:
        ledger.complain("the service does not come to rest", "a last look at everything takes too long")
    finally:
        timer.cancel()
        asker.close()


def _look(asker: Asker, ledger: Ledger, entry: Entry) -> None:
    answer, _ = asker.ask("GET", f"/v1/explanations/{entry.explanation_id}")
    if entry.fate == "deleted":
        if answer.status_code != 404:
            ledger.complain("what was deleted is there", f"{entry.explanation_id}: {answer.status_code}")
        return
    if answer.status_code != 200:
        ledger.complain("what was accepted is not there", f"{entry.explanation_id}: {answer.status_code}")
        return
    body = answer.json()
    if body["status"] != entry.fate:
        ledger.complain("the end was not the end", f"{entry.explanation_id}: {entry.fate!r}, then {body['status']!r}")
    elif entry.fate == "succeeded":
        _compare(asker, ledger, entry, body)


def _compare(asker: Asker, ledger: Ledger, entry: Entry, body: dict[str, Any]) -> None:
    maps = fetch_maps(asker, ledger, entry.explanation_id, len(body["targets"]))
    same = len(maps) == len(entry.maps) and all(map(np.array_equal, maps, entry.maps))
    if not same or body["provenance"]["masks_used"] != entry.masks_used:
        ledger.complain("the end was not the end", f"{entry.explanation_id}: its result has changed")


def look_for_leftovers(stage: Stage, ledger: Ledger) -> None:
    """Complain of jobs that are still there although everything has ended."""
    with Redis(port=stage.redis_port) as redis:
        if not _comes_true(lambda: not _leftovers(redis)):
            ledger.complain("jobs are left over", ", ".join(_leftovers(redis)))


def _leftovers(redis: Redis) -> list[str]:
    found: Any = redis.keys("rq:job:*")
    waiting: Any = [*redis.lrange("rq:queue:default", 0, -1), *redis.lrange("rq:queue:default:intermediate", 0, -1)]
    running: Any = redis.zrange("rq:wip:default", 0, -1)
    return [name.decode() for name in (*found, *waiting, *running)]


def _comes_true(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _SECONDS
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
