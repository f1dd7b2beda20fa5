"""Loader `open-inference`: a model behind the Open Inference Protocol v2 (KServe, Triton, MLServer).

`source = "http://host:8000/v2/models/NAME"`, or that with `/versions/V` behind it. The server's metadata has the name,
type, layout and size of the input; what is missing there is taken from `[MODEL.options]` and `[MODEL.preprocessing]`.
There are no weights here: the digest is made of the names and versions that the server reports.

A server that speaks KServe's v1 only (`:predict`, TensorFlow Serving) is named as `http://host:8000/v1/models/NAME`: it
says nothing about its model, so the entry must. `http://host:8000/models/NAME` takes v2, or v1 where v2 is refused.
"""

from dataclasses import replace
from pathlib import Path

import torch

from app.contract.schemas import RequestModel
from workers.blackbox import BlackBox, BlackBoxError
from workers.model_io.model_entry import ModelEntry
from workers.remote.http.options import InferenceOptions

OPTIONS: type[RequestModel] = InferenceOptions


def load(entry: ModelEntry, options: InferenceOptions, *, folder: Path, device: torch.device) -> BlackBox:
    """Read the server's metadata, where there is any, and infer one image.

    Raises:
        ValueError: if what the server and the entry say does not fit together.
        BlackBoxError: if the server does not answer as it should.
    """
    from workers.remote.kserve.adapter import load_kserve_model  # noqa: PLC0415 - it needs the extra's libraries, the entry does not

    black_box = load_kserve_model(entry, options, folder)

    def has_changed() -> bool:
        try:
            return load_kserve_model(entry, options, folder).identity != black_box.identity
        except BlackBoxError:
            return False  # because an unreachable server does not mean that its model has changed

    return replace(black_box, device=device, has_changed=has_changed)
