"""Explanations that differ only in how far they go: more masks later continue from what fewer have left.

A block is a pure function of image, model, method, targets, parameters and seed; how many blocks there may be, and when
to stop, is none of its business. So explanations of one *kin* share their blocks, and the one that has most of them is
remembered for as long as it is kept. This saves time and nothing else: whoever finds nothing computes everything.
"""

import hashlib
import json
from typing import Any

from redis import Redis

from app.contract.names import record_key
from app.contract.schemas import Record

_HOW_FAR = frozenset({"masks", "until", "shrink"})  # parameters that leave every block as it is

# KEYS: the kin. ARGV: blocks, explanation, seconds to live, what the keys of explanations begin with.
_REMEMBER = """
local known = redis.call('HMGET', KEYS[1], 'blocks', 'explanation')
local more = known[1] and tonumber(known[1]) > tonumber(ARGV[1])
if more and redis.call('EXISTS', ARGV[4] .. known[2]) == 1 then return end
redis.call('HSET', KEYS[1], 'blocks', ARGV[1], 'explanation', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""


class Kin:
    """Remembers which explanation has the most blocks of its kin.

    Args:
        redis: client with byte replies.
        keep_seconds: how long an explanation lives after its last change.
    """

    def __init__(self, redis: Redis, *, keep_seconds: int) -> None:
        self._redis = redis
        self._remember = redis.register_script(_REMEMBER)
        self._keep_seconds = keep_seconds

    def remember(self, record: Record, *, blocks: int) -> None:
        """Take note of an explanation that has ended with so many blocks."""
        self._remember(keys=[_key(record)], args=[blocks, record.id, self._keep_seconds, record_key("")])

    def find(self, record: Record) -> str | None:
        """Return the explanation whose blocks are those of this one; None where nobody knows any."""
        found: Any = self._redis.hget(_key(record), "explanation")
        return None if found is None else found.decode()


def _key(record: Record) -> str:
    """Return the name of a kin; the tenant is part of it, as it is of an explanation's id."""
    request = record.request.model_dump(mode="json")
    request["parameters"] = {name: value for name, value in request["parameters"].items() if name not in _HOW_FAR}
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return f"rise:kin:{hashlib.sha256(f'{record.tenant} {record.image.sha256} {canonical}'.encode()).hexdigest()[:32]}"
