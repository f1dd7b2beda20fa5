"""Classifies exceptions that end a job: the failure that a client gets, and whether a retry may succeed.

CUDA's documentation says of a few errors that they leave the process in an inconsistent state and that it must be ended
and started again ("sticky" errors; CUDA Runtime API, `cudaError_t`; HIP took over numbers and words). Others, such as
a kernel that was not built for the device, are the caller's own, and the next call goes well. torch raises
`AcceleratorError` with the number as `error_code`; its older paths, and ONNX Runtime, raise something else with the
same messages. Running out of memory is neither: the batch is halved.
"""

import re

import torch
from pydantic import ValidationError
from redis.exceptions import RedisError
from rq.timeouts import JobTimeoutException

from app.contract.errors import BlobNotFoundError, RiseError
from app.contract.redis.client import describe_error
from app.contract.redis.retry import is_transient
from app.contract.schemas import Failure

_STICKY_CODES = {
    *(46, 100, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999),
}
_STICKY_MESSAGES = (
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "misaligned address",
    "illegal instruction",
    "hardware stack error",
    "invalid program counter",
    "not supported on global/shared address space",
    "launch timed out and was terminated",
    "uncorrectable",
    "context is destroyed",
    "device(s) is/are busy or unavailable",
    "unknown error",
)
_DEVICE_ERROR = re.compile(r"\b(CUDA|HIP|cuDNN|cuBLAS)\b.*?\b(error|failure|exception)\b", re.IGNORECASE)
_MAX_MESSAGE = 300  # characters

_BLOB_LOST = Failure(
    code="storage-unavailable",
    detail="its image, or a part of its effects, is not in the storage any more; send the request again",
)


class BrokenDeviceError(RiseError):
    """The device broke under a model: this process cannot use it any more; another process may."""


def failure_of(error: BaseException) -> Failure:
    """Return the failure that a client gets for an exception; an unexpected one is `internal`."""
    if isinstance(error, BlobNotFoundError):
        return _BLOB_LOST
    if isinstance(error, RiseError):
        return Failure(code=error.code, detail=error.detail)
    if isinstance(error, JobTimeoutException):
        return Failure(code="timed-out", detail=str(error))
    if isinstance(error, RedisError) and is_transient(error):
        return Failure(code="unavailable", detail=describe_error(error))
    return Failure(
        code="internal", detail=f"the worker failed with {_message(error)}; its log says where, beside the same id"
    )


def is_retryable(error: BaseException) -> bool:
    """Return whether another attempt may succeed: elsewhere, or when the server is back."""
    return isinstance(error, BrokenDeviceError) or (isinstance(error, RedisError) and is_transient(error))


def _message(error: BaseException) -> str:
    """Return the name of an exception, and its text where it cannot contain an address, path or secret.

    The text of a built-in exception says what was wrong with a value; those of libraries may say anything.
    """
    if isinstance(error, ValidationError):
        text = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
    elif isinstance(error, OSError):
        text = error.strerror or ""
    else:
        text = str(error) if type(error).__module__ == "builtins" else ""
    text = " ".join(text.split())[:_MAX_MESSAGE]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_sticky_device_error(error: BaseException) -> bool:
    """Return whether an error, or one in its chain of causes, makes the device unusable for this process."""
    current: BaseException | None = error
    while current is not None:
        if _is_sticky(current):
            return True
        current = current.__cause__ or current.__context__
    return False


def _is_sticky(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return False
    code = getattr(error, "error_code", None)
    if isinstance(error, torch.AcceleratorError) and isinstance(code, int):
        return code in _STICKY_CODES
    text = str(error)
    return _DEVICE_ERROR.search(text) is not None and any(message in text for message in _STICKY_MESSAGES)
