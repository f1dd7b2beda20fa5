"""The same network explained through ONNX Runtime and through eager torch, each at the batch that suits it best."""

import tempfile
import warnings
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import nn

from bench.loop import explain, study_of
from bench.networks import classifier, residual_network
from bench.rows import Row
from bench.stopwatch import median_ratio, seconds_of
from workers.blackbox import BlackBox
from workers.model_io.model_entry import ModelEntry, PreprocessingEntry
from workers.models import load_model

_MASKS = 128
_BATCHES = (4, 8, 16, 32)
_TARGET = 0.75
_CPU = torch.device("cpu")


def onnx_classifier(network: nn.Module) -> BlackBox:
    """Return a network as the `onnx` loader gives it, with as many threads as torch has."""
    statistics = PreprocessingEntry(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    entry = ModelEntry(loader="onnx", source="it.onnx", preprocessing=statistics)
    images, free = torch.rand(2, 3, 224, 224), ({0: torch.export.Dim.DYNAMIC},)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(action="ignore"):
        folder = Path(name)
        torch.onnx.export(network, (images,), folder / "it.onnx", dynamic_shapes=free, verbose=False)
        return load_model(entry, folder=folder, device=_CPU)


def best(model: BlackBox, rounds: int) -> int:
    """Return the batch at which a forward pass takes least per picture, measured with more patience than at loading."""
    images = torch.rand(max(_BATCHES), 3, 224, 224)

    def forward(batch: int) -> None:
        with torch.inference_mode():
            model.forward(images[:batch])

    measured = seconds_of({str(batch): partial(forward, batch) for batch in _BATCHES}, rounds=rounds)
    return min(_BATCHES, key=lambda batch: median(measured[str(batch)]) / batch)


def rows(rounds: int) -> list[Row]:
    """Return how long ONNX Runtime takes for an explanation, as a share of what eager torch takes."""
    network = residual_network((2, 2, 2, 2), bottleneck=False)
    models = {"onnx": onnx_classifier(network), "torch": classifier(network, device=_CPU, dtype=torch.float32)}
    batches = {name: best(model, rounds) for name, model in models.items()}
    measured = seconds_of(
        {
            name: partial(explain, study_of(model, "rise", batches[name], masks=_MASKS, grid=8))
            for name, model in models.items()
        },
        rounds=rounds,
    )
    ratio = median_ratio(measured, "onnx", "torch")
    each = ", ".join(
        f"{name} {median(measured[name]) / _MASKS * 1000:.1f} ms a mask at batch {batch}"
        for name, batch in batches.items()
    )
    what = "Explain through ONNX Runtime / through eager torch, ResNet-18, float32, 224 x 224, each at its best batch"
    return [Row(what, f"{ratio:.3f} ({each}; {_MASKS} masks, {rounds} rounds)", f"<= {_TARGET}", ratio <= _TARGET)]
