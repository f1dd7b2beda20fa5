"""The preprocessing of a transformers model, read from its image processor and compared with its results.

The geometry is read from the processor's fields. Channels, mean and deviation are measured on images of one colour,
because a processor maps values affinely, while the fields for that differ from class to class.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workers.blackbox import Channels, Interpolation, Preprocessing
from workers.blackbox.preprocessing import normalise, pixels, to_input
from workers.model_io.hub import first_line
from workers.model_io.model_entry import ModelEntry, PreprocessingEntry
from workers.model_io.preprocessing_config import preprocessing_of

# Pillow's filters by number; where there is none of the same name here, the most similar one.
_FILTERS: dict[int, Interpolation] = {
    0: "nearest",
    1: "bicubic",
    2: "bilinear",
    3: "bicubic",
    4: "bilinear",
    5: "bilinear",
}
_BILINEAR = 2
_WARPED_FROM = 384  # the side from which ConvNeXt's processor warps pictures instead of cutting them
_LEVIT_MARGIN = 256 / 224
_YOLOS_MULTIPLE = 16
_PROBE_WIDTH, _PROBE_HEIGHT = 500, 331  # one of them odd, so that rounding shows
_TOLERANCE = 0.02  # of a pixel's value, on average: 8-bit rounding stays below it, another view does not


def read_preprocessing(entry: ModelEntry, folder: Path) -> Preprocessing:
    """Return how pictures become the model's input.

    Args:
        entry: the model's entry; its preprocessing wins, and is then not compared with the processor.
        folder: with the model's files.

    Raises:
        ValueError: if there is no processor or it cannot be read, and the entry does not declare everything.
    """
    declared = entry.preprocessing
    if not (folder / "preprocessor_config.json").is_file():
        return preprocessing_of(entry)
    try:
        processor = _processor(folder)
        found = replace(_geometry(processor), **_values(processor))
        if declared == PreprocessingEntry():
            _check(found, processor)
    except (ValueError, TypeError, KeyError, OSError, ImportError) as cause:
        if declared.size is not None and declared.mean is not None and declared.std is not None:
            return preprocessing_of(entry)
        words = "the image processor cannot be followed; say size, resize, mean and std in [MODEL.preprocessing]"
        raise ValueError(f"{words} ({first_line(_root(cause))})") from cause
    return preprocessing_of(entry, found)


def _root(cause: BaseException) -> BaseException:
    """Return the first cause of an error: transformers wraps the error of a torchvision built for another torch."""
    return _root(cause.__cause__) if cause.__cause__ else cause


def _processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor  # noqa: PLC0415 - an optional library

    known: Any = AutoImageProcessor
    return known.from_pretrained(folder, backend="pil", local_files_only=True, trust_remote_code=False)


def _geometry(processor: Any) -> Preprocessing:
    """Return size and way of resizing, as the processor's fields say them."""
    filter_number = _BILINEAR if processor.resample is None else int(processor.resample)
    found = Preprocessing(size=None, interpolation=_FILTERS[filter_number])
    cut = dict(processor.crop_size) if processor.do_center_crop else None
    if not processor.do_resize:
        if cut:
            raise ValueError("it cuts the centre of pictures that it does not resize")
        return found
    size, edge = dict(processor.size), _shorter_side(processor)
    if edge is None:
        return _between_two_sides(size, cut, found)
    if cut is not None:
        return replace(found, size=(cut["height"], cut["width"]), resize="crop", shortest_side=edge)
    if getattr(processor, "crop_pct", None):
        return _cut_or_warped(size["shortest_edge"], edge, found)
    multiple = _YOLOS_MULTIPLE if type(processor).__name__.startswith("Yolos") else 1
    longest = size.get("longest_edge")
    return replace(found, resize="scale", shortest_side=edge, longest_side=longest, side_multiple=multiple)


def _shorter_side(processor: Any) -> int | None:
    """Return the shorter side of pictures after resizing and before a cut; None where both sides are given."""
    edge: int | None = dict(processor.size).get("shortest_edge")
    if edge is None:
        return None
    if type(processor).__name__.startswith("Levit"):
        return int(edge * _LEVIT_MARGIN)
    fraction = getattr(processor, "crop_pct", None)
    return int(edge / fraction) if fraction else edge


def _between_two_sides(size: dict[str, int], cut: dict[str, int] | None, found: Preprocessing) -> Preprocessing:
    whole = (size["height"], size["width"])
    if cut is None or (cut["height"], cut["width"]) == whole:
        return replace(found, size=whole)
    return replace(found, size=(cut["height"], cut["width"]), resize="crop", stretched_to=whole)


def _cut_or_warped(side: int, edge: int, found: Preprocessing) -> Preprocessing:
    """Return what ConvNeXt's processor does: small inputs are cut, large ones warped."""
    if side >= _WARPED_FROM:
        return replace(found, size=(side, side))
    return replace(found, size=(side, side), resize="crop", shortest_side=edge)


def _values(processor: Any) -> dict[str, Any]:
    """Return channels, mean and deviation, measured: `(value - mean) / std` is where black and white end up."""
    black, white, red = (_centre_of(processor, color) for color in ((0, 0, 0), (255, 255, 255), (255, 0, 0)))
    if bool((white == black).any()):
        raise ValueError("it makes the same of black and white")
    std = 1 / (white - black)
    channels: Channels = "rgb" if red[0] != black[0] else "bgr"
    return {"mean": tuple((-black * std).tolist()), "std": tuple(std.tolist()), "channels": channels}


def _centre_of(processor: Any, color: tuple[int, int, int]) -> Tensor:
    """Return the values in the middle of a picture of one colour, `[C]`."""
    shown = _applied(processor, Image.new("RGB", (64, 64), color))
    return shown[:, shown.shape[1] // 2, shown.shape[2] // 2].double()


def _applied(processor: Any, image: Image.Image) -> Tensor:
    """Return what a processor makes of a picture, `[C, H, W]`."""
    values: Tensor = processor(image, return_tensors="pt")["pixel_values"]
    if values.dim() != 4 or values.shape[1] != 3:
        raise ValueError(f"it makes {tuple(values.shape)} of a picture")
    return values[0]


def _check(found: Preprocessing, processor: Any) -> None:
    """Compare what was read with what the processor makes of an image.

    Raises:
        ValueError: if they differ.
    """
    image = _patches()
    ours = normalise(to_input(pixels(image)[None], found), found)[0]
    theirs = _applied(processor, image)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"{type(processor).__name__} makes {tuple(theirs.shape)} of a picture, not {tuple(ours.shape)}"
        )
    std = torch.tensor(found.std).view(-1, 1, 1)
    apart = float(((ours - theirs) * std).abs().mean())
    if apart > _TOLERANCE:
        raise ValueError(f"{type(processor).__name__} makes other pictures of pictures, {apart:.3f} apart on average")


def _patches() -> Image.Image:
    """Return a picture of smooth coloured patches: a shift or another scale changes it everywhere."""
    colors = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
    return Image.fromarray(colors).resize((_PROBE_WIDTH, _PROBE_HEIGHT), Image.Resampling.BICUBIC)
