"""Recent throughput of explanations per model and method, from which waiting times are estimated.

Seconds are kept per mask of the budget, not per evaluated mask, because an explanation that may stop early mostly does.
Exponentially fading sums weight long explanations more than short ones, whose seconds are mostly not spent on masks.
"""

from collections.abc import Collection
from typing import Any

from redis import Redis

from app.contract.redis.keys import THROUGHPUT
from app.contract.schemas import CanonicalRequest

FADING = 0.9
"""Factor of the earlier sums, at every explanation."""

_ALL = "all"
_GUESS_SECONDS = 0.001  # per mask, until anything has been measured


def workload_class(request: CanonicalRequest) -> str:
    """Return the name of what is measured together: model, method, where it masks, and whether it may stop early.

    To mask the image itself takes as long as the image is large, and not as the model is slow.
    """
    where = "/image" if request.parameters.get("canvas") == "image" else ""
    early = "early" if request.parameters.get("until", 1) < 1 else _ALL
    return f"{request.model.id}/{request.method}{where}/{early}"


def runs_to_completion(work: str) -> bool:
    """Return whether the work of a name never stops early."""
    return work.endswith(f"/{_ALL}")


def mask_budget(request: CanonicalRequest) -> int:
    """Return how many masks a request asks for at most."""
    return int(request.parameters.get("masks", 1))


class ThroughputStats:
    """Reads the seconds per mask of each workload class; the script that ends an explanation records them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def seconds_per_mask(self) -> "ServiceTimes":
        """Return what has been measured."""
        found: Any = self._redis.hgetall(THROUGHPUT)
        sums = {name.decode(): float(value) for name, value in found.items()}
        works = {name.removesuffix(" masks") for name in sums if name.endswith(" masks")}
        return ServiceTimes({work: sums[f"{work} seconds"] / sums[f"{work} masks"] for work in works})

    def models(self) -> set[str]:
        """Return the models that have been measured."""
        names: Any = self._redis.hkeys(THROUGHPUT)
        return {_model_of(name) for name in names}

    def remove(self, models: Collection[str]) -> None:
        """Forget what has been measured of some models."""
        names: Any = self._redis.hkeys(THROUGHPUT)
        if old := [name for name in names if _model_of(name) in models]:
            self._redis.hdel(THROUGHPUT, *old)


def _model_of(name: bytes) -> str:
    """Return the model of a field: a work begins with it."""
    return name.decode().partition("/")[0]


class ServiceTimes:
    """Seconds per mask by work; the mean of all for one that has not been seen, a guess where nothing has."""

    def __init__(self, measured: dict[str, float]) -> None:
        self._measured = measured
        self._otherwise = sum(measured.values()) / len(measured) if measured else _GUESS_SECONDS

    def of(self, work: str) -> float:
        """Return the seconds per mask of one work."""
        return self._measured.get(work, self._otherwise)
