"""Temporary files `NAME#1` that obstore leaves in a local folder when a writer is killed."""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

_TEMPORARY = re.compile(r".*#\d+")


def stale_temp_files(folder: Path, before: datetime) -> Iterator[Path]:
    """Yield the temporary files that were last written before a moment."""
    for place, _, names in os.walk(folder):
        for file in (Path(place, name) for name in names if _TEMPORARY.fullmatch(name)):
            if _written_at(file) < before.timestamp():
                yield file


def _written_at(file: Path) -> float:
    """Return when a file was last written to, in seconds since 1970; infinity if it is gone."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
