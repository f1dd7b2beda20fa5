"""The short form of `make torture`, and what its verdict rests on."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tests.torture.faults import BREAK
from tests.torture.ledger import Entry
from tests.torture.performance import Plan, perform
from tests.torture.report import report
from tests.torture.requests import errands, questions
from tests.torture.schedule import SERIES, Fault, schedule
from tests.torture.truth import TOLERANCE, Truth

pytestmark = pytest.mark.slow

PROCESSES = (
    Fault("worker killed", 3.0, 0, 0.0),
    Fault("worker frozen until it is lost", 0.5, 1, 4.0),
    Fault("front end killed", 0.5, 0, 0.0),
    Fault("worker stopped", 0.5, 1, 0.0),
)
SERVERS = (
    Fault("storage silent", 4.0, 0, 1.5),
    Fault("Redis killed", 2.0, 0, 1.0),
)


def test_nothing_is_lost_while_processes_and_servers_fall(tmp_path: Path) -> None:
    plan = Plan(
        seconds=60,
        settle_seconds=120,
        seed=1,
        faults=(iter(PROCESSES), iter(SERVERS)),
        questions=7,
        clients=4,
        workers=2,
    )
    outcome = perform(plan, tmp_path)
    said = report(outcome)
    assert not outcome.ledger.complaints, said
    assert len(outcome.ledger.breakages) == len(PROCESSES) + len(SERVERS), said
    assert outcome.ledger.successes, said


def test_a_seed_gives_the_same_faults_and_the_same_requests() -> None:
    for series in SERIES:
        once, again, other = (list(islice(schedule(seed, series), 50)) for seed in (1, 1, 2))
        assert once == again
        assert once != other
    assert list(islice(errands(1, 24), 200)) == list(islice(errands(1, 24), 200))
    assert questions(1, 24) == questions(1, 24)
    assert questions(1, 24) != questions(2, 24)


def test_every_kind_of_fault_comes_before_any_comes_again() -> None:
    kinds = [kind.name for series in SERIES.values() for kind in series]
    assert set(kinds) == set(BREAK)
    for series, there_are in SERIES.items():
        drawn = [fault.kind for fault in islice(schedule(5, series), len(there_are))]
        assert sorted(drawn) == sorted(kind.name for kind in there_are)


def test_the_same_picture_comes_with_other_bytes_each_time() -> None:
    question = questions(1, 1)[0]
    images = {errand.image(question) for errand in islice(errands(1, 1), 20)}
    assert len(images) == 20


def entry(fate: str = "succeeded", failure: str = "", masks_used: int = 128, error: float = 0.0) -> Entry:
    maps = [np.full((4, 5), 0.25 + error, dtype=np.float32)] if fate == "succeeded" else []
    return Entry("id", 0, 0.0, fate, failure, masks_used, maps)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (entry(), ""),
        (entry(error=TOLERANCE / 2), ""),
        (entry(error=3 * TOLERANCE), "a map is off by"),
        (entry(masks_used=256), "used 256 masks"),
        (entry("failed", "worker-lost"), "failed as 'worker-lost'"),
    ],
)
def test_what_differs_from_an_undisturbed_run_is_found(found: Entry, words: str) -> None:
    truth = Truth("", 128, (np.full((4, 5), 0.25, dtype=np.float32),))
    assert truth.disagrees(found).startswith(words)
    assert bool(truth.disagrees(found)) == bool(words)


def test_a_failure_must_be_the_one_of_an_undisturbed_run() -> None:
    assert Truth("no-target").disagrees(entry("failed", "no-target")) == ""
    assert "worker-lost" in Truth("no-target").disagrees(entry("failed", "worker-lost"))
    assert Truth("no-target").disagrees(entry()) != ""
