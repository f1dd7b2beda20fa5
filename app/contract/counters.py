"""Counters of the whole service in Redis: they survive restarts, and any front end reads all of them.

They are one hash. A field is a metric's name and the values of its labels, separated by `|`; histograms have a field
for each bucket, cumulative as in Prometheus, and one for their sum. The script that ends an explanation counts it
(`lua/statistics.lua`). The counters of a model are deleted when no worker has served it for a month
(`app/maintenance/unserved_models.py`).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from redis import Redis

from app.contract.redis.keys import COUNTERS

BUCKETS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Upper bounds of the buckets of durations, in seconds."""

ENDED = "explanations"
MASKS = "masks"
QUEUED_SECONDS = "queued_seconds"
RUNNING_SECONDS = "running_seconds"
MEMORY_RETRIES = "out_of_memory_retries"
LOST_ATTEMPTS = "lost_attempts"


@dataclass(frozen=True)
class CounterSample:
    """The value of a counter: the name of its metric and the values of its labels."""

    metric: str
    labels: tuple[str, ...]
    value: float

    @property
    def model(self) -> str:
        """The model that it belongs to."""
        return self.labels[1 if self.metric == ENDED else 0]


class PersistentCounters:
    """Increments and reads the counters."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def count_memory_retry(self, model: str) -> None:
        """Count a batch that was halved after an out-of-memory error."""
        self._count(MEMORY_RETRIES, model)

    def count_lost_attempt(self, model: str, reason: str) -> None:
        """Count an attempt at a job that took its worker with it: `stalled`, `device-broken`, or just `worker-lost`."""
        self._count(LOST_ATTEMPTS, model, reason)

    def read(self) -> list[CounterSample]:
        """Return all counters."""
        found: Any = self._redis.hgetall(COUNTERS)
        return [_parse(name.decode(), float(value)) for name, value in sorted(found.items())]

    def models(self) -> set[str]:
        """Return the models that have counters."""
        return {one.model for one in self.read()}

    def remove(self, models: Collection[str]) -> None:
        """Delete the counters of some models."""
        names: Any = self._redis.hkeys(COUNTERS)
        if old := [name for name in names if _parse(name.decode(), 0.0).model in models]:
            self._redis.hdel(COUNTERS, *old)

    def server_memory(self) -> dict[str, int]:
        """Return how many bytes the Redis server has `used`, and its `limit`; a limit of 0 is none."""
        found: Any = self._redis.info("memory")
        return {"used": int(found["used_memory"]), "limit": int(found["maxmemory"])}

    def _count(self, metric: str, *labels: str) -> None:
        self._redis.hincrby(COUNTERS, "|".join((metric, *labels)), 1)


def _parse(name: str, value: float) -> CounterSample:
    metric, *labels = name.split("|")
    return CounterSample(metric, tuple(labels), value)
