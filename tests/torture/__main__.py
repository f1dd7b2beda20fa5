"""`python -m tests.torture [--seconds 600] [--seed 1]`: ends with 1 if anything was lost, wrong, stuck or worse."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import torch

from tests.torture.performance import Plan, perform
from tests.torture.report import report
from tests.torture.schedule import SERIES, schedule

_SETTLE_SECONDS = 150.0  # a job that was taken off its queue by a worker that died at once is found after a minute


def main() -> None:
    """Run, print, and end with the right code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="of faults; start, settling and checking come on top"
    )
    parser.add_argument("--seed", type=int, default=1, help="of requests and faults")
    parser.add_argument("--folder", type=Path, help="where logs stay; default: a temporary one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    torch.set_num_threads(1)
    plan = Plan(
        seconds=options.seconds,
        settle_seconds=_SETTLE_SECONDS,
        seed=options.seed,
        faults=tuple(schedule(options.seed, series) for series in SERIES),
    )
    with tempfile.TemporaryDirectory(prefix="rise-torture-") as temporary:
        folder = Path(temporary) if options.folder is None else options.folder
        folder.mkdir(parents=True, exist_ok=True)
        outcome = perform(plan, folder)
    sys.stdout.write(report(outcome))
    if outcome.ledger.complaints:
        sys.exit(1)


if __name__ == "__main__":
    main()
