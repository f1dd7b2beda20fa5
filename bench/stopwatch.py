"""Seconds of several things that are compared, measured in turn so that they share whatever else the machine does."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def seconds_of(things: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Run each thing once to warm up, then all of them in turn; return the seconds of every round."""
    for thing in things.values():
        _timed(thing)
    measured: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(rounds):
        for name, thing in things.items():
            measured[name].append(_timed(thing))
    return measured


def median_ratio(measured: Mapping[str, list[float]], above: str, below: str) -> float:
    """Return the median over rounds of the ratio of two things."""
    return statistics.median(a / b for a, b in zip(measured[above], measured[below], strict=True))


def _timed(thing: Callable[[], object]) -> float:
    _finish()
    started = time.perf_counter()
    thing()
    _finish()
    return time.perf_counter() - started


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
