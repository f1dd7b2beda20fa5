"""Memory does not grow with the number of masks: the peak of a fresh process, for few masks and many."""

import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from app.contract.storage.object_store import BlobStore
from bench.loop import null_study
from bench.rows import Row
from workers.execution.checkpoints import CheckpointWriter
from workers.explainer.convergence import Convergence

FEW, MANY = 2_000, 100_000


def peak_megabytes(masks: int) -> float:
    found = subprocess.run(
        [sys.executable, "-m", "bench.memory", str(masks)], capture_output=True, text=True, check=True
    )
    match = re.search(r"peak (\d+)", found.stdout)
    assert match
    return int(match[1]) / 1024


def rows() -> list[Row]:
    """Return the peak of many masks over that of few."""
    few, many = peak_megabytes(FEW), peak_megabytes(MANY)
    value = f"{many / few:.3f} ({few:.0f} MB and {many:.0f} MB, effects kept as a worker keeps them)"
    return [Row("peak memory of a process: 100,000 masks / 2,000 masks", value, "<= 1.05", many / few <= 1.05)]


def main(masks: int) -> None:
    """Explain as a worker does, with checkpoints on disk, and print this process's peak."""
    study = null_study(masks)
    convergence = Convergence(study)
    with tempfile.TemporaryDirectory() as folder:
        recorder = CheckpointWriter(
            BlobStore(Path(folder).as_uri()), "bench", "bench", study.state(), checkpoint_seconds=1.0
        )
        for block in study.run():
            convergence.add(block)
            recorder.add(block)
            if recorder.due:
                recorder.checkpoint()
    sys.stdout.write(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
