"""Loaders: where models come from. One file per loader; its name is what `loader = "..."` says in the models file.

To add one, write `workers/models/NAME.py` with

    def load(entry: ModelEntry, *, folder: Path, device: torch.device) -> BlackBox

`folder` is that of the models file: relative paths start there. Import the library that it needs inside the file: it is
imported only if a model names the loader. Raise `ValueError` in the operator's words for anything that is not as it
should be. Nothing else has to be registered.
"""

import hashlib
import sys
from pathlib import Path

import torch

from app.contract.errors import unknown_name
from app.contract.plugins import plugin, plugin_names
from workers.blackbox import BlackBox
from workers.models_file import ModelEntry


def load_model(entry: ModelEntry, *, folder: Path, device: torch.device) -> BlackBox:
    """Load one model.

    Raises:
        RiseError: for a loader that does not exist.
        ValueError: for a source that cannot be loaded.
    """
    package = sys.modules[__name__]
    if entry.loader not in plugin_names(package):
        raise unknown_name("/loader", entry.loader, plugin_names(package))
    black_box: BlackBox = plugin(package, entry.loader).load(entry, folder=folder, device=device)
    return black_box


def digest(entry: ModelEntry, black_box: BlackBox) -> str:
    """Return the hash of a model's entry and files: part of the identity of every explanation of it."""
    whole = hashlib.sha256(entry.model_dump_json().encode())
    for path in black_box.files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]
