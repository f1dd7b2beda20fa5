"""Loader `http-labels`: a service that takes an image and returns `[{"label": "cat", "score": 0.9}]`, over HTTP.

That is the format of the Hugging Face tasks image-classification and object-detection, whose answers carry a
`box: {xmin, ymin, xmax, ymax}` too. `source` is the service's address. Pictures go out at their own resolution unless
`[MODEL.preprocessing]` says a size. Labels that an answer leaves out have the score 0. A classifier that names all its
classes in every answer needs no `labels`; any other, and every detector, does.
"""

from dataclasses import replace
from pathlib import Path

import torch

from app.contract.schemas import RequestModel
from workers.blackbox import BlackBox
from workers.model_io.model_entry import ModelEntry
from workers.remote.http.options import LabelsOptions

OPTIONS: type[RequestModel] = LabelsOptions


def load(entry: ModelEntry, options: LabelsOptions, *, folder: Path, device: torch.device) -> BlackBox:
    """Load the service as a model, after predictions for a few images.

    Raises:
        ValueError: if what the service answers and the entry say does not fit together.
        BlackBoxError: if the service does not answer as it should.
    """
    from workers.remote.hf_labels.adapter import load_hf_labels_model  # noqa: PLC0415 - it needs the extra's libraries, the entry does not

    return replace(load_hf_labels_model(entry, options, folder), device=device)
