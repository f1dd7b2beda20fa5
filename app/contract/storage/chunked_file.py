"""A large file as a folder of objects: written one after the other, read wherever it is looked at."""

import bisect
import io
import itertools
from collections.abc import Callable, Mapping
from typing import Any

ReadRange = Callable[[str, int, int], bytes]


def chunk_name(name: str, number: int) -> str:
    """Return the name of one part of a file; names stand in the order of their parts."""
    return f"{name}/{number:06d}"


class ChunkedFile(io.RawIOBase):
    """A file that is read from its parts.

    Args:
        read: returns the bytes of an object between two places.
        sizes: of the parts, in bytes, by name and in order.
    """

    def __init__(self, read: ReadRange, sizes: Mapping[str, int]) -> None:
        self._read = read
        self._names = list(sizes)
        self._ends = list(itertools.accumulate(sizes.values()))
        self._place = 0

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place and return it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._ends[-1]}[whence]
        if start + offset < 0:
            raise ValueError(f"a file has no place {start + offset}")
        self._place = start + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of a part."""
        number = bisect.bisect_right(self._ends, self._place)
        if number == len(self._names) or len(buffer) == 0:
            return 0
        begin = self._ends[number - 1] if number else 0
        end = min(self._place + len(buffer), self._ends[number])
        content = self._read(self._names[number], self._place - begin, end - begin)
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
