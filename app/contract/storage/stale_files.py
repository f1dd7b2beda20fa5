"""What obstore leaves in a local folder where a writer was killed: `NAME#1`, which it takes for no object."""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

_UNFINISHED = re.compile(r".*#\d+")


def stale_temp_files(folder: Path, before: datetime) -> Iterator[Path]:
    """Yield the files that nobody has written to since a moment, of those that have not got their name yet."""
    for place, _, names in os.walk(folder):
        for file in (Path(place, name) for name in names if _UNFINISHED.fullmatch(name)):
            if _written_at(file) < before.timestamp():
                yield file


def _written_at(file: Path) -> float:
    """Return when a file was last written to, in seconds since 1970; infinity if it is gone."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
