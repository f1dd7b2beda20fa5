"""Which errors of a model leave the process without a device: an error of the device that every later call gets too.

CUDA's documentation says of a few errors that they leave the process in an inconsistent state and that it must be ended
and started again ("sticky" errors; CUDA Runtime API, `cudaError_t`; HIP took over numbers and words). Others, such as
a kernel that was not built for the device, are the caller's own, and the next call goes well. torch raises
`AcceleratorError` with the number as `error_code`; its older paths, and ONNX Runtime, raise something else with the
same words. Running out of memory is neither: the batch is halved.
"""

import re

import torch

from app.contract.errors import RiseError

_ENDING_CODES = {
    *(46, 100, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999),
}
_ENDING_WORDS = (
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
_OF_A_DEVICE = re.compile(r"\b(CUDA|HIP|cuDNN|cuBLAS)\b.*?\b(error|failure|exception)\b", re.IGNORECASE)


class BrokenDeviceError(RiseError):
    """The device broke under a model: this process is of no more use, and another one may do better."""


def breaks_device(error: BaseException) -> bool:
    """Return whether an error, or what caused it, means that this process cannot use its device any more."""
    seen: BaseException | None = error
    while seen is not None:
        if _ends_the_process(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _ends_the_process(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return False
    code = getattr(error, "error_code", None)
    if isinstance(error, torch.AcceleratorError) and isinstance(code, int):
        return code in _ENDING_CODES
    words = str(error)
    return _OF_A_DEVICE.search(words) is not None and any(ending in words for ending in _ENDING_WORDS)
