"""What a worker leaves behind that could not say any more why it ended.

A C extension that holds the interpreter for ever lets no line of Python run, so the process is ended by the
interpreter's own timer, which can do one thing before: write the stack of every thread to a file. While a model is
asked there is such a file with a first line that says what the worker does. Whoever looks after lost jobs reads what
lies there: a stack below the first line means that the process ended itself.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from io import FileIO
from pathlib import Path

_SUFFIX = ".stack"
_FORGOTTEN_SECONDS = 86_400  # left by workers that were killed
_SLACK_SECONDS = 5.0


@dataclass(frozen=True)
class CrashContext:
    """What a worker does while it may not be able to say so any more.

    Attributes:
        worker: its name.
        job: id of the job.
        attempt: of the job; see `Attempts`.
        model: that is asked.
        seconds: for how long it may be asked without a line of Python running.
        since: when that time began, in seconds since the epoch.
    """

    worker: str
    job: str
    attempt: str
    model: str
    seconds: float
    since: float


@dataclass(frozen=True)
class CrashReport:
    """What was found of a worker that ended itself.

    Attributes:
        doing: its last words.
        stack: of every thread.
        frozen: whether the whole process stood still, so that it was not the model's fault.
    """

    doing: CrashContext
    stack: str
    frozen: bool


def folder_for_stacks(data: Path) -> Path:
    """Return a folder that outlives the process: below `data`, or a temporary one where that cannot be written."""
    for parent in (data.expanduser(), Path(tempfile.gettempdir()) / f"rise-serve-{os.getuid()}"):
        folder = parent / "stacks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="rise-serve-"))


def open_stack(folder: Path, worker: str) -> FileIO:
    """Open a worker's file, empty."""
    return FileIO(folder / f"{worker}{_SUFFIX}", "w")


def write_crash_context(file: FileIO, doing: CrashContext) -> None:
    """Make what a worker does the only line of its file."""
    file.seek(0)
    file.truncate()
    file.write(json.dumps(asdict(doing)).encode() + b"\n")


def close_stack(file: FileIO) -> None:
    """Remove a worker's file."""
    file.close()
    Path(str(file.name)).unlink(missing_ok=True)


def collect_crash_reports(folder: Path) -> Iterator[CrashReport]:
    """Give every stack that was left in a folder, once, and remove it."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            first, _, stack = path.read_text(errors="replace").partition("\n")
            written_at = path.stat().st_mtime
            if stack or time.time() - written_at > _FORGOTTEN_SECONDS:
                path.unlink()
        except FileNotFoundError:  # because another worker of this machine was faster
            continue
        if stack:
            said = json.loads(first)
            doing = CrashContext(**{part.name: said[part.name] for part in fields(CrashContext)})
            yield CrashReport(doing, stack, frozen=_stood_still(written_at - doing.since, doing.seconds))


def _stood_still(passed: float, seconds: float) -> bool:
    """Return whether a timer went off much later than it was set to, or was an older one that had waited to go off."""
    return passed > seconds + _SLACK_SECONDS or passed < seconds / 2
