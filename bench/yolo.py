"""A detector of YOLOv8n's size with random weights, as an ONNX file that Ultralytics might have written.

At 320 x 320 it takes 2.2 GFLOPs (1.1 billion multiply-adds, YOLOv8n's 8.7 GFLOPs at 640 x 640) and gives 2,100
proposals of 80 classes, `[batch, 84, 2100]`: centres and sizes in pixels, then probabilities. Its weights are a pure
function of a seed; its confidences are scaled by one picture, in which it then finds a few things.
"""

import warnings
from itertools import pairwise
from pathlib import Path

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

SIDE, CLASSES = 320, 80
_STRIDES = (8, 16, 32)
_WIDTHS = (16, 32, 64, 128, 256)  # of the maps at strides 2 to 32
_DEPTHS = (0, 2, 4, 4, 2)  # convolutions after each halving
_HEAD = 80
_STRONG, _SPREAD = 3, 4.0  # proposals above one half, and logits from there down to the median


class YoloShaped(nn.Module):
    """A convolutional backbone with three heads, one for each of the last three scales."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stages = nn.ModuleList(
                nn.Sequential(
                    _convolution(before, width, stride=2), *(_convolution(width, width) for _ in range(depth))
                )
                for (before, width), depth in zip(pairwise((3, *_WIDTHS)), _DEPTHS, strict=True)
            )
            self.heads = nn.ModuleList(
                nn.Sequential(_convolution(width, _HEAD), _convolution(_HEAD, _HEAD), nn.Conv2d(_HEAD, 4 + CLASSES, 1))
                for width in _WIDTHS[2:]
            )
        self.gain, self.offset = nn.Buffer(torch.ones(())), nn.Buffer(torch.zeros(()))
        sides = [torch.arange(SIDE // stride) for stride in _STRIDES]
        places = [torch.cartesian_prod(side, side).flip(1).T + 0.5 for side in sides]
        self.centres = nn.Buffer(torch.cat([place * stride for place, stride in zip(places, _STRIDES, strict=True)], 1))
        self.strides = nn.Buffer(
            torch.cat([torch.full((len(side) ** 2,), s) for side, s in zip(sides, _STRIDES, strict=True)])
        )

    def logits(self, images: Tensor) -> Tensor:
        """Return raw numbers of all proposals, `[B, 84, 2100]`."""
        maps, found = images, []
        for index, stage in enumerate(self.stages):
            maps = stage(maps)
            if index >= 2:
                found.append(self.heads[index - 2](maps).flatten(2))
        return torch.cat(found, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return centres, sizes and probabilities of all proposals of pictures `[B, 3, 320, 320]`, `[B, 84, 2100]`."""
        raw = self.logits(images)
        centres = self.centres + raw[:, :2].tanh() * self.strides
        sizes = (2 + 6 * raw[:, 2:4].sigmoid()) * self.strides
        return torch.cat([centres, sizes, (self.gain * (raw[:, 4:] - self.offset)).sigmoid()], 1)

    def fit_confidences(self, image: Tensor) -> None:
        """Scale logits so that a few proposals of a picture `[3, 320, 320]` are confident and most are not."""
        with torch.inference_mode():
            strongest = self.logits(image[None])[0, 4:].amax(0).sort(descending=True).values
        self.offset.copy_(strongest[_STRONG])
        self.gain.copy_(_SPREAD / (strongest[_STRONG] - strongest.median()))


def _convolution(channels_in: int, channels: int, *, stride: int = 1) -> nn.Module:
    convolution = nn.Conv2d(channels_in, channels, 3, stride, 1)
    nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(convolution, nn.SiLU())


def write_yolo_shaped(path: Path, image: Tensor) -> None:
    """Write the detector, with the metadata that Ultralytics writes.

    Args:
        path: of the ONNX file.
        image: in which it shall find something, `[3, 320, 320]` in 0..1.
    """
    network = YoloShaped().eval().requires_grad_(False)
    network.fit_confidences(image)
    with warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, SIDE, SIDE),),
            input_names=["images"],
            output_names=["output0"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    program.save(path)
    model = onnx.load(path)
    names = {index: f"class {index}" for index in range(CLASSES)}
    helper.set_model_props(model, {"task": "detect", "imgsz": str([SIDE, SIDE]), "names": str(names), "stride": "32"})
    onnx.save(model, path)
