"""Archives of torch.export, whole and tampered with."""

import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

ANY = Dim.DYNAMIC


class Trap:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


class Mean(nn.Module):
    """A classifier whose scores are the mean of each channel; as tuple, two of them."""

    def __init__(self, *, twice: bool = False) -> None:
        super().__init__()
        self.twice = twice

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        mean = images.float().mean((2, 3))
        return (mean, -mean) if self.twice else mean


class Sum(nn.Module):
    """Something with two inputs."""

    def forward(self, images: Tensor, sizes: Tensor) -> Tensor:
        return images.mean((2, 3)) + sizes.mean()


def exported(network: nn.Module, *inputs: Tensor, batch: Any = ANY) -> ExportedProgram:
    """Export a network; `batch` says which batches it takes, None the one that is given."""
    shapes = None if batch is None else tuple({0: batch} for _ in inputs)
    return torch.export.export(network, inputs, dynamic_shapes=shapes)


def save(program: ExportedProgram, path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    torch.export.save(program, path, extra_files=dict(metadata or {}))
    return path


def tampered(source: Path, target: Path, changes: Mapping[str, tuple[bytes, bytes] | bytes]) -> Path:
    """Copy an archive; change members: all of one, or what it says at one place."""
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(target, "w") as copy:
        for name in whole.namelist():
            content, change = whole.read(name), changes.get(name.partition("/")[2], b"")
            if isinstance(change, tuple):
                assert change[0] in content
                content = content.replace(*change)
            copy.writestr(name, change if isinstance(change, bytes) and change else content)
    return target


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, pickle_module=pickle)
    return buffer.getvalue()
