"""Graceful shutdown: requests that wait for an explanation are answered at SIGTERM, so that their clients reconnect.

A server such as uvicorn starts the application's shutdown when all requests have ended, and after a few seconds cancels
those that still wait, with an error that their clients see.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def on_shutdown_signal(drain: Callable[[], None]) -> Iterator[None]:
    """Call a function on the event loop at SIGTERM or SIGINT, beside what the server does, until the block ends."""
    if threading.current_thread() is not threading.main_thread():  # because no other may set signal handlers
        yield
        return
    loop = asyncio.get_running_loop()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(drain)
        handler = handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    handled = [number for number, handler in handlers.items() if callable(handler)]  # the others end the process
    for number in handled:
        signal.signal(number, handle_signal)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, handlers[number])
