"""What is printed at the end of a run."""

import statistics
from collections import Counter
from collections.abc import Iterable

from tests.torture.performance import Outcome
from tests.torture.truth import TOLERANCE

_SHOWN = 40


def report(outcome: Outcome) -> str:
    """Return the counts of a run, and its complaints."""
    ledger = outcome.ledger
    fates = Counter(entry.fate or "stuck" for entry in ledger.entries)
    failures = Counter(entry.failure for entry in ledger.entries if entry.fate == "failed")
    faults = Counter(breakage.kind for breakage in ledger.breakages)
    lines = [
        f"{len(ledger.entries)} explanations accepted: {_counts(fates)}",
        f"  failed for a reason of their own: {_counts(failures)}",
        f"{faults.total()} faults of {len(faults)} kinds: {_counts(faults)}",
        f"clients were sent away: {_counts(ledger.refusals)}",
        f"seconds from the end of a fault to the next success: {_spread(ledger.recoveries())}",
        f"seconds from the kill of a busy worker until another has its job: {_spread(ledger.takeovers)}",
        f"seconds from the last fault to the last end: {outcome.settled_seconds:.1f}",
        f"seconds from SIGTERM to the end of a worker: {_spread(outcome.endings)}",
        f"processes that had ended by themselves: {outcome.revivals}",
        f"maps are compared with a tolerance of {TOLERANCE:g}",
        f"lost {ledger.complaints['lost']}, wrong {ledger.complaints['wrong']}, stuck {ledger.complaints['stuck']}",
        f"complaints: {_counts(ledger.complaints)}",
        *(f"  {detail}" for detail in ledger.details[:_SHOWN]),
    ]
    return "\n".join(lines) + "\n"


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items())) or "none"


def _spread(seconds: Iterable[float]) -> str:
    known = sorted(seconds)
    if not known:
        return "none"
    return f"median {statistics.median(known):.1f}, at most {known[-1]:.1f} ({len(known)} times)"
