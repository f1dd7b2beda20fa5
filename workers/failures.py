"""What is told of an exception that ended a job: which kind of failure it is, in words that a client may read."""

from pydantic import ValidationError
from redis.exceptions import RedisError
from rq.timeouts import JobTimeoutException

from app.contract.connection import meaning_of
from app.contract.errors import RiseError
from app.contract.patience import is_passing
from app.contract.schemas import Failure
from workers.breakage import BrokenDeviceError

_LONGEST_WORDS = 300  # characters

_LOST = Failure(
    code="storage-unavailable",
    detail="its image, or a part of its effects, is not in the storage any more; send the request again",
)


def failure_of(error: BaseException) -> Failure:
    """Return what is told of an exception; one that nobody has foreseen is `internal`."""
    if isinstance(error, RiseError):
        return Failure(code=error.code, detail=error.detail)
    if isinstance(error, FileNotFoundError):
        return _LOST
    if isinstance(error, JobTimeoutException):
        return Failure(code="timed-out", detail=str(error))
    if isinstance(error, RedisError) and is_passing(error):
        return Failure(code="unavailable", detail=meaning_of(error))
    return Failure(
        code="internal", detail=f"the worker failed with {_words(error)}; its log says where, beside the same id"
    )


def is_retryable(error: BaseException) -> bool:
    """Return whether another attempt may go better: elsewhere, or when the server is back."""
    return isinstance(error, BrokenDeviceError) or (isinstance(error, RedisError) and is_passing(error))


def _words(error: BaseException) -> str:
    """Return the name of an exception, and its text where no address, path or secret can stand in it.

    The text of an exception of Python itself says what was wrong with a value. Those of libraries may say anything.
    """
    if isinstance(error, ValidationError):
        text = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
    elif isinstance(error, OSError):
        text = error.strerror or ""
    else:
        text = str(error) if type(error).__module__ == "builtins" else ""
    text = " ".join(text.split())[:_LONGEST_WORDS]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
