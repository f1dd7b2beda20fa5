"""Optional libraries that hold compiled code for one version of torch."""

import importlib
from typing import Any

import torch


def import_for_torch(name: str) -> Any:
    """Return a library that depends on compiled code of torch or torchvision.

    Raises:
        ModuleNotFoundError: if it is not installed.
        ValueError: if it was built for another torch than the one that is installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise
    except (ImportError, RuntimeError, OSError, AttributeError) as cause:
        words = f"{name} cannot be imported: is torchvision the one for torch {torch.__version__}?"
        raise ValueError(f"{words} ({cause})") from cause
