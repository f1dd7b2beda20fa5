"""Loaders: where models come from. One file per loader; its name is what `loader = "..."` says in the models file.

To add one, write `workers/models/NAME.py` with the members of `LoaderPlugin`. Import the library that it needs inside
`load`, so that an entry can be checked where the library is not installed; the library is an extra in `pyproject.toml`,
named like the loader. What loaders share lies in `workers/loading/`: labels, preprocessing, outputs, weights, modules
in their precision. Nothing else has to be registered; tests/workers/models/ is a table of loaders and tasks, to which a
row is added.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from app.contract.errors import unknown_choice
from app.contract.plugins import plugin, plugin_names
from app.contract.schemas import RequestModel
from workers.blackbox import BlackBox
from workers.blackbox.device import choose_device
from workers.model_io.model_entry import ModelEntry


class LoaderPlugin(Protocol):
    """A module that loads models."""

    OPTIONS: type[RequestModel]
    """What `[MODEL.options]` may say for this loader, checked when the models file is read; `NoOptions` for nothing."""

    def load(self, entry: ModelEntry, options: Any, /, *, folder: Path, device: torch.device) -> BlackBox:
        """Load one model.

        Args:
            entry: what the models file says of it.
            options: its options, an instance of `OPTIONS`.
            folder: of the models file; relative paths start there.
            device: where it computes.

        Raises:
            ValueError: with a message for the operator, for a model that cannot be loaded.
            ModuleNotFoundError: if its library is not installed.
        """
        ...


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
        return _loader(entry).load(entry, _options(entry), folder=folder, device=where)
    except ModuleNotFoundError as cause:
        raise ValueError(
            f"loader {entry.loader!r} needs {cause.name}; install it: pip install 'rise-serve[{entry.loader}]'"
        ) from cause


def _loader(entry: ModelEntry) -> LoaderPlugin:
    package = sys.modules[__name__]
    if entry.loader not in plugin_names(package):
        raise unknown_choice("/loader", entry.loader, plugin_names(package))
    return cast(LoaderPlugin, plugin(package, entry.loader))


def _options(entry: ModelEntry) -> RequestModel:
    return _loader(entry).OPTIONS.model_validate(entry.options)


def digest_of(entry: ModelEntry, black_box: BlackBox) -> str:
    """Return the hash of a model's entry and files: part of the identity of every explanation of it."""
    whole = hashlib.sha256(f"{entry.identity()}\n{black_box.identity}".encode())
    for path in black_box.files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]
