"""Which errors leave a process without its device."""

import pytest
import torch

from workers.breakage import breaks_device

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
    assert breaks_device(error)


def test_what_such_an_error_was_turned_into_breaks_the_device_too() -> None:
    outer = ValueError("the model failed")
    outer.__cause__ = numbered(710)
    assert breaks_device(outer)


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
    assert not breaks_device(error)
