"""Which errors leave a process without its device, and what is told of all others."""

import pytest
import torch
from pydantic import BaseModel, ValidationError
from redis.exceptions import ConnectionError
from rq.timeouts import JobTimeoutException

from app.contract.errors import RiseError
from workers.supervision.failures import failure_of, is_retryable, is_sticky_device_error

_MORE = "\nSearch for `cudaErrorAssert' in the documentation for more information."


def numbered(code: int) -> torch.AcceleratorError:
    """Return an error as torch makes it, with its number."""
    error = torch.AcceleratorError("CUDA error: in words that may change")
    error.error_code = code  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: device-side assert triggered" + _MORE),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered" + _MORE),
        torch.AcceleratorError("HIP error: unspecified launch failure"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=a"),
        numbered(700),
        numbered(719),
    ],
)
def test_an_error_that_every_later_call_gets_too_breaks_the_device(error: Exception) -> None:
    assert is_sticky_device_error(error)


def test_what_such_an_error_was_turned_into_breaks_the_device_too() -> None:
    outer = ValueError("the model failed")
    outer.__cause__ = numbered(710)
    assert is_sticky_device_error(outer)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device"),
        torch.AcceleratorError("CUDA error: invalid configuration argument"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("an illegal memory access in words of my own"),
        ValueError("unknown error"),
        numbered(2),
        numbered(209),
    ],
)
def test_an_error_after_which_the_next_call_goes_well_does_not(error: Exception) -> None:
    assert not is_sticky_device_error(error)


class _Strict(BaseModel):
    number: int


def _validation_error() -> ValidationError:
    with pytest.raises(ValidationError) as raised:
        _Strict.model_validate({"number": "secret"})
    return raised.value


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RiseError("no-target", "nothing there"), "no-target", "nothing there"),
        (JobTimeoutException("an hour is over"), "timed-out", "an hour is over"),
        (ConnectionError("secret"), "unavailable", "Redis does not answer"),
        (ZeroDivisionError("division by zero"), "internal", "ZeroDivisionError: division by zero;"),
        (OSError(28, "No space left on device", "/secret/path"), "internal", "OSError: No space left on device;"),
        (_validation_error(), "internal", "ValidationError: number: Input should be a valid integer"),
        (type("SecretError", (Exception,), {"__module__": "library"})("secret"), "internal", "SecretError;"),
    ],
)
def test_an_exception_is_told_without_what_may_be_secret_in_it(error: Exception, code: str, words: str) -> None:
    failure = failure_of(error)
    assert failure.code == code
    assert words in failure.detail
    assert "secret" not in failure.detail


def test_what_would_happen_again_is_not_tried_again() -> None:
    assert is_retryable(ConnectionError())
    assert not any(map(is_retryable, [KeyError("x"), RiseError("no-target", ""), JobTimeoutException()]))
