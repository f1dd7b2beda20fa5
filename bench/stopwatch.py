"""Seconds of several things that are compared, measured in turn so that they share whatever else the machine does."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping

import torch

Thing = Callable[[], object]


def seconds_of(
    things: Mapping[str, Thing], *, rounds: int, warm_up: Iterable[Thing] | None = None
) -> dict[str, list[float]]:
    """Run things in turn and return the seconds of every round.

    Args:
        things: what is compared.
        rounds: how often each is run.
        warm_up: run once before; None runs each thing itself.
    """
    for thing in things.values() if warm_up is None else warm_up:
        _timed(thing)
    measured: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(rounds):
        for name, thing in things.items():
            measured[name].append(_timed(thing))
    return measured


def median_ratio(measured: Mapping[str, list[float]], above: str, below: str) -> float:
    """Return the median over rounds of the ratio of two things."""
    return statistics.median(a / b for a, b in zip(measured[above], measured[below], strict=True))


def _timed(thing: Thing) -> float:
    _finish()
    started = time.perf_counter()
    thing()
    _finish()
    return time.perf_counter() - started


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
