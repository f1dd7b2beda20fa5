"""Loaders: where models come from. One file per loader; its name is what `loader = "..."` says in the models file.

To add one, write `workers/models/NAME.py` with

    def load(entry: ModelEntry, *, folder: Path, device: torch.device) -> BlackBox

`folder` is that of the models file: relative paths start there. Import the library that it needs inside `load`, so
that the entry can be checked where it is not installed; the library is an extra of its own in `pyproject.toml`, named
like the loader. What an operator may set for this loader alone is a pydantic model `Options` (a `RequestModel`) in the
file, checked when the models file is read; without one, `[MODEL.options]` must be empty. What loaders share lies in
`workers/loading/`: labels, preprocessing, outputs, weights, modules in their precision. Raise `ValueError` in the
operator's words for anything that is not as it should be. Nothing else has to be registered; tests/workers/models/ is a
table of loaders and tasks, and wants a row.
"""

import hashlib
import sys
from pathlib import Path
from types import ModuleType

import torch

from app.contract.errors import unknown_choice
from app.contract.plugins import plugin, plugin_names
from app.contract.schemas import RequestModel
from workers.blackbox import BlackBox
from workers.blackbox.device import choose_device
from workers.model_io.entry import ModelEntry


class NoOptions(RequestModel):
    """The options of a loader that has none."""


def check_entry(entry: ModelEntry) -> None:
    """Check what only its loader knows of an entry.

    Raises:
        RiseError: for a loader that does not exist.
        ValidationError: for options that the loader does not understand.
    """
    _options(entry)


def load_model(entry: ModelEntry, *, folder: Path, device: torch.device) -> BlackBox:
    """Load one model.

    Args:
        entry: what the models file says of it.
        folder: of the models file.
        device: where it computes unless the entry says otherwise.

    Raises:
        ValueError: for a source that cannot be loaded, or a library that is not installed.
    """
    where = choose_device(entry.device) if entry.device else device
    try:
        black_box: BlackBox = _loader(entry).load(entry, folder=folder, device=where)
    except ModuleNotFoundError as cause:
        raise ValueError(
            f"loader {entry.loader!r} needs {cause.name}; install it: pip install 'rise-serve[{entry.loader}]'"
        ) from cause
    return black_box


def _loader(entry: ModelEntry) -> ModuleType:
    package = sys.modules[__name__]
    if entry.loader not in plugin_names(package):
        raise unknown_choice("/loader", entry.loader, plugin_names(package))
    return plugin(package, entry.loader)


def _options(entry: ModelEntry) -> RequestModel:
    options: RequestModel = getattr(_loader(entry), "Options", NoOptions).model_validate(entry.options)
    return options


def digest_of(entry: ModelEntry, black_box: BlackBox) -> str:
    """Return the hash of a model's entry and files: part of the identity of every explanation of it."""
    whole = hashlib.sha256(f"{entry.identity()}\n{black_box.identity}".encode())
    for path in black_box.files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]
