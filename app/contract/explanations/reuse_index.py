"""Explanations that differ only in how far they go: more masks later continue from what fewer have left.

A block is a pure function of image, model, method, targets, parameters and seed; how many blocks there may be, and when
to stop, is none of its business. So explanations of one *kin* share their blocks, and the one that has most of them is
remembered for as long as it is kept. This saves time and nothing else: whoever finds nothing computes everything.
"""

import json
from typing import Any

from redis import Redis

from app.contract.redis.keys import reuse_key
from app.contract.schemas import ExplanationRecord

_HOW_FAR = frozenset({"masks", "until", "shrink"})  # parameters that leave every block as it is


class BlockReuseIndex:
    """Knows which explanation has the most blocks of its kin; the script that ends one takes note of it (`store.py`).

    Args:
        redis: client with byte replies.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def find(self, record: ExplanationRecord) -> str | None:
        """Return the explanation whose blocks are those of this one; None where nobody knows any."""
        found: Any = self._redis.hget(blocks_key(record), "explanation")
        return None if found is None else found.decode()


def blocks_key(record: ExplanationRecord) -> str:
    """Return the key of a kin; the tenant is part of it, as it is of an explanation's id."""
    request = record.request.model_dump(mode="json")
    request["parameters"] = {name: value for name, value in request["parameters"].items() if name not in _HOW_FAR}
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return reuse_key(f"{record.tenant} {record.image.sha256} {canonical}")
