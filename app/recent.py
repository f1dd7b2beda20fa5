"""What was made lately and may be asked for again: a bounded memory, by name, of any thread."""

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """Keeps values by name; the one that nobody has asked for the longest is forgotten first.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept = OrderedDict[str, Value]()
        self._lock = Lock()

    def get(self, name: str) -> Value | None:
        """Return what is kept under a name."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def keep(self, name: str, value: Value) -> None:
        """Keep a value in the place of any other of its name."""
        with self._lock:
            self._kept[name] = value
            self._kept.move_to_end(name)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
