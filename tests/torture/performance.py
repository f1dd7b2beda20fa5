"""One run from beginning to end: clients at work, faults by schedule, calm, a last look, the truth."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.torture.audit import keep_looking, look_again, look_for_leftovers
from tests.torture.clients import Client
from tests.torture.faults import break_things
from tests.torture.ledger import Ledger
from tests.torture.requests import Errand, Question, errands, questions
from tests.torture.schedule import Fault
from tests.torture.stage import Stage, stage
from tests.torture.truth import check

_REVIVAL_SECONDS = 0.5


@dataclass(frozen=True)
class Plan:
    """How a run goes.

    Attributes:
        seconds: of faults.
        settle_seconds: in which everything must have come to its end afterwards.
        seed: of requests.
        faults: each series of them, done side by side.
        questions: how many there are.
        clients: at once.
        front_ends: how many.
        workers: how many.
    """

    seconds: float
    settle_seconds: float
    seed: int
    faults: tuple[Iterator[Fault], ...]
    questions: int = 24
    clients: int = 6
    front_ends: int = 2
    workers: int = 3


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        ledger: everything that happened.
        settled_seconds: from the last fault to the end of the last explanation.
        endings: seconds from SIGTERM to the end of a worker, each time.
        revivals: processes that had ended by themselves.
    """

    ledger: Ledger
    settled_seconds: float
    endings: list[float]
    revivals: int


class Shared(Iterator[Errand]):
    """Errands for several clients: each is done once, whoever comes first."""

    def __init__(self, there_are: Iterator[Errand]) -> None:
        self._there_are = there_are
        self._lock = threading.Lock()

    def __next__(self) -> Errand:
        with self._lock:
            return next(self._there_are)


def perform(plan: Plan, folder: Path) -> Outcome:
    """Break the service as planned, in a folder for everything that it leaves, and say what came of it."""
    ledger, asked = Ledger(), questions(plan.seed, plan.questions)
    with stage(folder, front_ends=plan.front_ends, workers=plan.workers) as broken:
        settled_seconds = _act(plan, broken, ledger, asked)
        look_for_leftovers(broken, ledger)
        look_again(broken, ledger)
        endings = [seconds for worker, _ in broken.workers for seconds in worker.endings]
        revivals = sum(member.revivals for member in broken.members())
    for entry in ledger.entries:
        if not entry.fate:
            ledger.complain("stuck", f"{entry.explanation_id} ({asked[entry.question]})")
    check(ledger, asked, broken.models)
    return Outcome(ledger, settled_seconds, endings, revivals)


def _act(plan: Plan, broken: Stage, ledger: Ledger, asked: list[Question]) -> float:
    """Run clients and faults side by side, and return how long it took to settle."""
    calm, given_up = threading.Event(), threading.Event()
    client = Client(broken, ledger, asked, given_up)
    errands_of_all = Shared(errands(plan.seed, plan.questions))
    clients = _started(plan.clients, partial(client.work, errands_of_all, calm))
    breaking = [
        thread for series in plan.faults for thread in _started(1, partial(break_things, broken, series, ledger, calm))
    ]
    beside = _started(1, partial(_revive, broken, given_up)) + _started(
        1, partial(keep_looking, broken, ledger, given_up)
    )
    deadline = time.monotonic() + plan.seconds
    for thread in breaking:
        thread.join(max(0.0, deadline - time.monotonic()))
    calm.set()
    for thread in breaking:
        thread.join()
    calm_at = time.monotonic()
    for thread in clients:
        thread.join(max(0.0, calm_at + plan.settle_seconds - time.monotonic()))
    settled_seconds = time.monotonic() - calm_at
    given_up.set()
    for thread in (*clients, *beside):
        thread.join()
    return settled_seconds


def _started(count: int, run: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def _revive(broken: Stage, over: threading.Event) -> None:
    """Do what a supervisor does."""
    while not over.wait(_REVIVAL_SECONDS):
        for member in broken.members():
            member.revive()
