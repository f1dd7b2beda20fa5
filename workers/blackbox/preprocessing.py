"""From an upright image to the input of a black box: the canvas, its view of the image, normalisation.

Normalisation is affine, so it commutes with blending: `m*image + (1-m)*fill` normalised is the blend of the normalised
pictures. It is therefore done once per explanation and not once per masked image; masks still act on pixel values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from workers.blackbox import Channels, Interpolation, Preprocessing

View = tuple[float, float, float, float]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and OpenCV have it
_ROUNDING = 1e-6  # so that a side that should be 256 is not 255.99999
_LONG = 8  # times its width, from which the ends of a picture are cut off before it is resized
_LETTERBOX = 114 / 255  # the grey that one-stage detectors pad with


def pixels(image: Image.Image) -> Tensor:
    """Return an RGB picture as `[3, H, W]`, float32 in 0..1."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1).contiguous()


def view_of(width: int, height: int, preprocessing: Preprocessing) -> View:
    """Return x0, y0, x1, y1 of the model's input in pixels of an image; beyond it where the model pads."""
    if preprocessing.size is None or preprocessing.resize in {"stretch", "scale"}:
        return 0.0, 0.0, float(width), float(height)
    rows, columns = preprocessing.size
    if preprocessing.resize == "crop":
        whole = _before_the_cut(width, height, preprocessing)
        across, down = width / whole[1], height / whole[0]
        left, top = (whole[1] - columns) // 2, (whole[0] - rows) // 2
        return left * across, top * down, (left + columns) * across, (top + rows) * down
    pixel = max(width / columns, height / rows)
    x0, y0 = (width - columns * pixel) / 2, (height - rows * pixel) / 2
    return x0, y0, x0 + columns * pixel, y0 + rows * pixel


def _before_the_cut(width: int, height: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """Return height and width to which a picture is resized before its centre is cut."""
    assert preprocessing.size is not None
    if preprocessing.stretched_to is not None:
        return preprocessing.stretched_to
    rows, columns = preprocessing.size
    pixel = min(width / columns, height / rows)  # because the input is covered, whatever the shorter side should be
    if preprocessing.shortest_side is not None:
        pixel = min(pixel, min(width, height) / preprocessing.shortest_side)
    return max(rows, int(height / pixel + _ROUNDING)), max(columns, int(width / pixel + _ROUNDING))


@dataclass(frozen=True)
class CoordinateTransform:
    """Between pixels of the upright image and pixels of the model's input.

    Attributes:
        view: x0, y0, x1, y1 of the input in pixels of the image.
        size: height and width of the input.
    """

    view: View
    size: tuple[int, int]

    def to_image(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """Return where a box of the input lies in the image."""
        x0, y0, x1, y1 = self.view
        across, down = (x1 - x0) / self.size[1], (y1 - y0) / self.size[0]
        return x0 + box[0] * across, y0 + box[1] * down, x0 + box[2] * across, y0 + box[3] * down

    def to_input(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """Return where a box of the image lies in the input."""
        x0, y0, x1, y1 = self.view
        across, down = self.size[1] / (x1 - x0), self.size[0] / (y1 - y0)
        return (box[0] - x0) * across, (box[1] - y0) * down, (box[2] - x0) * across, (box[3] - y0) * down


def input_transform(width: int, height: int, preprocessing: Preprocessing) -> CoordinateTransform:
    """Return the transform of an image."""
    return CoordinateTransform(view_of(width, height, preprocessing), preprocessing.size_for(width, height))


def to_input(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Bring pictures `[B, 3, H, W]` to the model's input size, `[B, 3, h, w]`, by its own rule."""
    height, width = images.shape[2:]
    rows, columns = preprocessing.size_for(width, height)
    if preprocessing.resize == "crop":
        return _cropped(images, preprocessing)
    inner = (rows, columns)
    if preprocessing.resize == "letterbox":
        x0, y0, x1, y1 = view_of(width, height, preprocessing)
        inner = (max(1, round(rows * height / (y1 - y0))), max(1, round(columns * width / (x1 - x0))))
    resized = _resized(images, inner, preprocessing.interpolation)
    if inner == (rows, columns):
        return resized
    top, left = (rows - inner[0]) // 2, (columns - inner[1]) // 2
    padding = (left, columns - inner[1] - left, top, rows - inner[0] - top)
    return functional.pad(resized, padding, value=_LETTERBOX)


def _cropped(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Resize whole pictures and cut their centre, in this order, so that pixels lie where libraries put them."""
    assert preprocessing.size is not None
    height, width = images.shape[2:]
    if preprocessing.stretched_to is None and max(preprocessing.size) < _LONG * min(preprocessing.size):
        images = _centre(images, (_LONG * width, _LONG * height))  # because the ends of a thin strip would fill memory
    whole = _before_the_cut(images.shape[3], images.shape[2], preprocessing)
    return _centre(_resized(images, whole, preprocessing.interpolation), preprocessing.size)


def _centre(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the centre of pictures, at most as high and wide as `size`."""
    rows, columns = min(size[0], images.shape[2]), min(size[1], images.shape[3])
    top, left = (images.shape[2] - rows) // 2, (images.shape[3] - columns) // 2
    return images[:, :, top : top + rows, left : left + columns]


def _resized(images: Tensor, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    if images.shape[2:] == size:
        return images
    if interpolation == "nearest":
        return functional.interpolate(images, size, mode="nearest-exact")
    resized = functional.interpolate(images, size, mode=interpolation, antialias=True, align_corners=False)
    return resized.clamp(0, 1) if interpolation == "bicubic" else resized  # because bicubic overshoots at edges


def normalise(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Bring pixel values in 0..1, `[..., 3, H, W]`, to the model's channels, mean and deviation, `[..., C, H, W]`."""
    mean, std = (
        torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    return (_in_channels(images, preprocessing.channels) - mean) / std


def _in_channels(images: Tensor, channels: Channels) -> Tensor:
    if channels == "rgb":
        return images
    if channels == "bgr":
        return images.flip(-3)
    luma = torch.tensor(_LUMA, device=images.device, dtype=images.dtype).view(3, 1, 1)
    return (images * luma).sum(-3, keepdim=True)
