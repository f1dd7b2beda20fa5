"""Events that signal handlers set."""

import _thread
import threading


def set_in_handler(event: threading.Event) -> None:
    """Set an event in a signal handler, a moment later.

    A handler interrupts the main thread anywhere, also inside `event.wait` while that holds the lock of the event, for
    which `event.set` would then wait for ever. So another thread sets it, started without `threading`, whose own locks
    may be held likewise.
    """
    _thread.start_new_thread(event.set, ())
