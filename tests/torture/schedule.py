"""When what is broken: two series of faults, one of processes and one of servers, that meet each other by chance."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

LOST_SECONDS = 3.0
"""After which a worker without a sign counts as lost on the stage: four heartbeats, rounded up."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        name: for reports; `faults.py` knows what is done.
        shortest_seconds: how long it lasts at least.
        longest_seconds: and at most.
    """

    name: str
    shortest_seconds: float = 0.0
    longest_seconds: float = 0.0


@dataclass(frozen=True)
class Fault:
    """Something that will be broken.

    Attributes:
        kind: its name.
        pause_seconds: since the end of the one before.
        victim: which of several, counted round and round.
        seconds: how long it lasts.
    """

    kind: str
    pause_seconds: float
    victim: int
    seconds: float


SERIES = {
    "processes": (
        Kind("worker killed"),
        Kind("worker killed"),
        Kind("worker stopped"),
        Kind("worker frozen briefly", 0.3, 0.6 * LOST_SECONDS),
        Kind("worker frozen until it is lost", LOST_SECONDS + 1, LOST_SECONDS + 4),
        Kind("worker cut off from Redis", 0.5, LOST_SECONDS + 4),
        Kind("worker out of Redis' hearing", 0.5, LOST_SECONDS + 4),
        Kind("front end killed"),
        Kind("front end stopped"),
    ),
    "servers": (
        Kind("Redis killed", 0.0, 4.0),
        Kind("Redis restarted", 0.0, 4.0),
        Kind("Redis frozen", 0.5, 4.0),
        Kind("storage away", 0.5, 5.0),
        Kind("storage silent", 0.5, 5.0),
        Kind("storage slow", 2.0, 6.0),
    ),
}
_PAUSES = {"processes": (1.5, 4.0), "servers": (2.0, 5.0)}


def schedule(seed: int, series: str) -> Iterator[Fault]:
    """Yield the faults of one series, without end; every kind comes once before any comes again."""
    draw = random.Random(f"{series} {seed}")
    while True:
        for kind in draw.sample(SERIES[series], len(SERIES[series])):
            yield Fault(
                kind=kind.name,
                pause_seconds=draw.uniform(*_PAUSES[series]),
                victim=draw.randrange(1000),
                seconds=draw.uniform(kind.shortest_seconds, kind.longest_seconds),
            )
