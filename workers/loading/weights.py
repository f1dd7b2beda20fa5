"""Weights from files that cannot run code: safetensors, or torch files that hold nothing but tensors."""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_TORCH = {".pt", ".pth", ".bin"}
_COUNTER = "num_batches_tracked"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by their names, on the CPU.

    Raises:
        ValueError: naming the file, if it is missing, broken, or of a kind that can hold code.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix in _TORCH:
        return _torch_file(path)
    raise ValueError(f"{path}: weights come as .safetensors, or as .pt, .pth or .bin that hold nothing but tensors")


@contextmanager
def tensors_only() -> Iterator[None]:
    """Make torch read nothing but tensors, also where a library passes `weights_only=False`."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def load_into(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load all weights of a file into a module.

    Raises:
        ValueError: naming the file, if names or shapes do not fit.
    """
    counters = {name for name in module.state_dict() if name.endswith(_COUNTER)}
    try:
        missing, unexpected = module.load_state_dict(tensors, strict=False)
    except RuntimeError as cause:
        raise ValueError(f"{path}: {' '.join(str(cause).split())}") from cause
    missing = sorted(set(missing) - counters)  # because they count batches of a training that is over
    if missing or unexpected:
        raise ValueError(f"{path}: {_few('lacks', missing)}{_few('has unknown', unexpected)}for this model")


def _few(words: str, names: list[str]) -> str:
    if not names:
        return ""
    return f"{words} {', '.join(names[:3])}{' and more' if len(names) > 3 else ''} "


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as cause:
        raise ValueError(f"{path}: {cause}") from cause


def _torch_file(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as cause:
        words = "it is broken, or holds more than tensors, and might run code; save it as .safetensors"
        raise ValueError(f"{path}: {words}") from cause
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path}: this is no dictionary of tensors (a state_dict)")
    return content
