"""The classifier of shapes that ships, in NumPy alone, from the file of its weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]

SIDE = 96
MEAN, DEVIATION = 0.5, 0.25  # that pictures are normalised with
WEIGHTS = Path(__file__).resolve().parents[3] / "workers" / "demo" / "shapes.safetensors"
BLOCKS = [("0", 2), ("1", 2), ("2", 0), ("3", 2), ("4", 0), ("5", 2)]  # a stride, or 0 for a residual block


def read_weights(path: Path = WEIGHTS) -> dict[str, Array]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[slice(*said["data_offsets"])], "<f4").reshape(said["shape"])
        for name, said in header.items()
        if said["dtype"] == "F32"
    }


def logits(weights: dict[str, Array], pictures: Array) -> Array:
    """Return `[B, 6]` of normalised pictures `[B, 3, 96, 96]`."""
    maps = pictures.astype(np.float32)
    for place, stride in BLOCKS:
        name = f"features.{place}"
        if stride:
            maps = _convolved(weights, name, maps, stride)
        else:
            maps = maps + _convolved(weights, f"{name}.second", _convolved(weights, f"{name}.first", maps, 1), 1)
    scores: Array = maps.max(axis=(2, 3)) @ weights["scores.weight"].T + weights["scores.bias"]
    return scores


def _convolved(weights: dict[str, Array], name: str, maps: Array, stride: int) -> Array:
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]  # [B, C, H, W, 3, 3]
    found = np.tensordot(windows, weights[f"{name}.0.weight"], axes=((1, 4, 5), (1, 2, 3)))  # [B, H, W, C]
    scale = weights[f"{name}.1.weight"] / np.sqrt(weights[f"{name}.1.running_var"] + 1e-5)
    found = (found - weights[f"{name}.1.running_mean"]) * scale + weights[f"{name}.1.bias"]
    rectified: Array = np.maximum(found, 0).transpose(0, 3, 1, 2)
    return rectified
