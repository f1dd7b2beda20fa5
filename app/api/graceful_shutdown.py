"""The moment at which this process is asked to leave: who is held is answered then, and comes back to another one.

A server such as uvicorn tells an application of its end when all requests have ended; those that are held for a minute
it cuts off after a few seconds, with an error that their clients see.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def on_shutdown_signal(leave: Callable[[], None]) -> Iterator[None]:
    """Call a function on the event loop at SIGTERM or SIGINT, beside what the server does, until the block ends."""
    if threading.current_thread() is not threading.main_thread():  # because no other may look at signals
        yield
        return
    loop = asyncio.get_running_loop()
    servers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def asked(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(leave)
        handler = servers[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    taken = [number for number, handler in servers.items() if callable(handler)]  # because others end the process
    for number in taken:
        signal.signal(number, asked)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, servers[number])
