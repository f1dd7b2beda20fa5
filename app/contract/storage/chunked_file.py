"""A large file as a folder of objects: written in order, read at random."""

import bisect
import io
import itertools
from collections.abc import Callable, Mapping
from typing import Any

ReadRange = Callable[[str, int, int], bytes]


def chunk_name(name: str, number: int) -> str:
    """Return the name of a chunk of a file; names sort in the order of the chunks."""
    return f"{name}/{number:06d}"


class ChunkedFile(io.RawIOBase):
    """A seekable file that is read from its chunks.

    Args:
        read: returns the bytes of an object between two offsets.
        sizes: of the chunks, in bytes, by name and in order.
    """

    def __init__(self, read: ReadRange, sizes: Mapping[str, int]) -> None:
        self._read = read
        self._names = list(sizes)
        self._ends = list(itertools.accumulate(sizes.values()))
        self._offset = 0

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset and return it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._ends[-1]}[whence]
        if start + offset < 0:
            raise ValueError(f"a file has no offset {start + offset}")
        self._offset = start + offset
        return self._offset

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of a chunk."""
        number = bisect.bisect_right(self._ends, self._offset)
        if number == len(self._names) or len(buffer) == 0:
            return 0
        begin = self._ends[number - 1] if number else 0
        end = min(self._offset + len(buffer), self._ends[number])
        content = self._read(self._names[number], self._offset - begin, end - begin)
        buffer[: len(content)] = content
        self._offset += len(content)
        return len(content)
