"""What happened: every explanation that was accepted and what became of it, every fault, and every complaint."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]


@dataclass
class Entry:
    """One explanation that was accepted.

    Attributes:
        explanation_id: its name.
        question: what was asked.
        accepted_at: when, on the monotonic clock.
        fate: `succeeded`, `failed`, `cancelled`, `deleted`; empty while it has none.
        failure: code of the failure.
        masks_used: of a success.
        maps: of a success, by target.
    """

    explanation_id: str
    question: int
    accepted_at: float
    fate: str = ""
    failure: str = ""
    masks_used: int = 0
    maps: list[Map] = field(default_factory=list)


@dataclass(frozen=True)
class Breakage:
    """A fault that was done.

    Attributes:
        kind: its name.
        began: when, on the monotonic clock.
        ended: when what was broken was mended.
    """

    kind: str
    began: float
    ended: float


class Ledger:
    """Takes down what happens, from any thread.

    Attributes:
        began: when, on the monotonic clock; so are the other moments.
        entries: explanations that were accepted.
        breakages: faults.
        successes: when each explanation succeeded.
        takeovers: seconds until another worker had what a killed one had run.
        refusals: how often clients were sent away, by reason.
        complaints: what must not happen, by its name.
        details: of every complaint.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.entries: list[Entry] = []
        self.breakages: list[Breakage] = []
        self.successes: list[float] = []
        self.takeovers: list[float] = []
        self.refusals: Counter[str] = Counter()
        self.complaints: Counter[str] = Counter()
        self.details: list[str] = []
        self._lock = threading.Lock()

    def accept(self, explanation_id: str, question: int) -> Entry:
        """Take down an explanation that was accepted."""
        entry = Entry(explanation_id, question, time.monotonic())
        with self._lock:
            self.entries.append(entry)
        return entry

    def succeed(self, entry: Entry, masks_used: int, maps: list[Map]) -> None:
        """Take down what came out of an explanation."""
        entry.masks_used, entry.maps = masks_used, maps
        entry.fate = "succeeded"
        with self._lock:
            self.successes.append(time.monotonic())

    def refuse(self, what: str) -> None:
        """Take down that a client was sent away, as it may be."""
        with self._lock:
            self.refusals[what] += 1

    def broke(self, kind: str, began: float, ended: float) -> None:
        """Take down a fault."""
        with self._lock:
            self.breakages.append(Breakage(kind, began, ended))

    def complain(self, what: str, detail: str) -> None:
        """Take down something that must not happen."""
        with self._lock:
            self.complaints[what] += 1
            self.details.append(f"{time.monotonic() - self.began:.1f} s: {what}: {detail}")

    def recoveries(self) -> list[float]:
        """Return, for each fault after which there was one, the seconds from its end to the next success."""
        found = []
        for breakage in self.breakages:
            later = [moment for moment in self.successes if moment > breakage.ended]
            if later:
                found.append(min(later) - breakage.ended)
        return found
