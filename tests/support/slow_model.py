"""A model for the loader `python` that takes a minute to load."""

import time

from workers.blackbox import BlackBox
from workers.demo import shapes

LOAD_SECONDS = 60


def load() -> BlackBox:
    """Return `shapes`, after a minute."""
    time.sleep(LOAD_SECONDS)
    return shapes.load()
