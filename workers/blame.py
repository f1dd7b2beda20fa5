"""Whose fault it is when a model fails: a model is somebody else's code."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rq.timeouts import JobTimeoutException

from app.contract.errors import RiseError
from workers.attempt import Stopped, asking, broken_device
from workers.blackbox import BlackBoxError
from workers.breakage import breaks_device

logger = logging.getLogger(__name__)


@contextmanager
def blaming(model_id: str) -> Iterator[None]:
    """Turn whatever a model raises into a failure that names it."""
    try:
        with asking(model_id):
            yield
    except (RiseError, Stopped):
        raise
    except JobTimeoutException as cause:
        raise RiseError("timed-out", f"its time was up while model {model_id!r} was asked: {cause}") from cause
    except BlackBoxError as cause:
        raise RiseError("model-failed", f"model {model_id!r} failed: {cause}") from cause
    except torch.OutOfMemoryError as cause:
        raise RiseError("out-of-memory", f"model {model_id!r} does not fit into the device's memory") from cause
    except Exception as cause:
        logger.exception("model %s failed", model_id)
        if breaks_device(cause):
            raise broken_device(model_id, cause) from cause
        raise RiseError("model-failed", f"model {model_id!r} raised {type(cause).__name__}: {cause}") from cause
