"""Weights from files, never by running them: safetensors, or torch files that hold tensors and nothing else."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

_TORCH = {".pt", ".pth", ".bin"}


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
