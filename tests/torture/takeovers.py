"""How long an explanation stands still when its worker is killed: until another worker has taken it over.

What was done since the last checkpoint comes on top; that is at most `RISE_CHECKPOINT_SECONDS`, and a block.
"""

import json
import threading
import time
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from tests.torture.ledger import Ledger
from tests.torture.stage import Stage

_LONGEST_SECONDS = 120.0
_LOOK_SECONDS = 0.1


class Held(NamedTuple):
    """What a worker runs: which explanation, under which name."""

    explanation_id: str
    execution: str


def held_by(stage: Stage, pid: int) -> Held | None:
    """Return what a worker runs now; None where it is nothing, or nobody can say."""
    try:
        with Redis(port=stage.redis_port, socket_timeout=1) as redis:
            for name in redis.scan_iter(f"rq:worker:*-{pid}-*:executions"):
                running: Any = redis.smembers(name)
                for entry in running:
                    explanation_id = entry.decode().partition(":")[0]
                    found = _state(redis, explanation_id)
                    return Held(explanation_id, found[1]) if found[0] == "running" else None
    except RedisError:
        pass
    return None


def time_takeover(stage: Stage, held: Held, ledger: Ledger) -> None:
    """Take down, from a thread, how long it takes from now until somebody else has what a worker held."""
    threading.Thread(target=_time, args=[stage, held, ledger], daemon=True).start()


def _time(stage: Stage, held: Held, ledger: Ledger) -> None:
    began = time.monotonic()
    while time.monotonic() < began + _LONGEST_SECONDS:
        time.sleep(_LOOK_SECONDS)
        try:
            with Redis(port=stage.redis_port, socket_timeout=1) as redis:
                if _state(redis, held.explanation_id) != ("running", held.execution):
                    ledger.takeovers.append(time.monotonic() - began)
                    return
        except RedisError:
            continue


def _state(redis: Redis, explanation_id: str) -> tuple[str, str]:
    found: Any = redis.hmget(f"rise:explanation:{explanation_id}", "status", "execution")
    status, execution = (json.loads(value) if value else "" for value in found)
    return status, execution
