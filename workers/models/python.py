"""Loader `python`: `source = "module:callable"`, something that the operator put on the path.

The callable takes nothing, or the `device` where it should compute, and returns a `Classifier`, a `Detector` or a
`Segmenter` (`workers/blackbox/__init__.py`).
"""

import importlib
import inspect
from dataclasses import replace
from pathlib import Path

import torch

from app.contract.schemas import RequestModel
from workers.blackbox import BlackBox, Classifier, Detector, Segmenter
from workers.model_io.model_entry import ModelEntry, NoOptions

OPTIONS: type[RequestModel] = NoOptions


def load(entry: ModelEntry, _: NoOptions, *, folder: Path, device: torch.device) -> BlackBox:  # noqa: ARG001 - a loader's signature
    """Call the callable.

    Raises:
        ValueError: if there is no such callable, or what it returns is no black box.
    """
    module, separator, name = entry.source.partition(":")
    if not separator:
        raise ValueError(f"source = {entry.source!r}: write it as module:callable")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as cause:
        raise ValueError(f"source = {entry.source!r}: {cause}") from cause
    black_box = make(device=device) if "device" in inspect.signature(make).parameters else make()
    if not isinstance(black_box, Classifier | Detector | Segmenter):
        raise ValueError(
            f"source = {entry.source!r} returned {type(black_box).__name__}, no Classifier, Detector or Segmenter"
        )
    return replace(black_box, device=device)
