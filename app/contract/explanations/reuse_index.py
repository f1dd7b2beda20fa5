"""An index of explanations whose blocks can be reused by one that differs only in its number of masks.

A block is a pure function of image, model, method, targets, parameters and seed; it does not depend on the number of
blocks or on the criterion for stopping. Explanations that differ only in those share their blocks, and the index has
the one with the most blocks for as long as it is kept. Without an entry all blocks are computed.
"""

import json
from typing import Any

from redis import Redis

from app.contract.redis.keys import reuse_key
from app.contract.schemas import ExplanationRecord

_STOPPING = frozenset({"masks", "until", "shrink", "evidence"})  # parameters that leave every block as it is


class BlockReuseIndex:
    """Finds the explanation with the most reusable blocks; the script that ends one updates the index (`store.py`).

    Args:
        redis: client with byte replies.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def find(self, record: ExplanationRecord) -> str | None:
        """Return the explanation whose blocks can be reused for this one; None if there is none."""
        found: Any = self._redis.hget(blocks_key(record), "explanation")
        return None if found is None else found.decode()


def blocks_key(record: ExplanationRecord) -> str:
    """Return the key that explanations with the same blocks share; the tenant is part of it, as of an id."""
    request = record.request.model_dump(mode="json")
    request["parameters"] = {name: value for name, value in request["parameters"].items() if name not in _STOPPING}
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return reuse_key(f"{record.tenant} {record.image.sha256} {canonical}")
