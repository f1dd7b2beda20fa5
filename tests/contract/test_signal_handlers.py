"""Events that are set by signal handlers, which interrupt the main thread anywhere."""

import subprocess
import sys

INTERRUPTED = """
import os, signal, threading
from app.contract.signal_handlers import set_in_handler

event = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: set_in_handler(event))
with event._cond:  # as in the midst of `event.wait`
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not event.is_set()
assert event.wait(10)
"""


def test_a_handler_that_interrupts_a_wait_does_not_wait_for_it() -> None:
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
