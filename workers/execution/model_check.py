"""What an operator wants to see of a model that is new here: what it is shown, what it sees, and what looks wrong."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from app.contract.errors import RiseError
from app.contract.images.decoding import decode
from app.contract.schemas import Box, Prediction, StoredModel
from workers.blackbox import BlackBox, Classifier, Detector, Preprocessing, Segmenter
from workers.blackbox.preprocessing import pixels, to_input
from workers.execution.local_run import explain_locally
from workers.explainer.prediction import predict_image
from workers.registry.model_registry import LoadedModel

_MASKS = 512
_CLASSES = 10
_ABOVE_EVEN = 1.5
_ALIKE = 0.01  # difference of probabilities within which all classes are alike
_SAME = 1e-4  # difference of the strongest probability within which photographs are told apart in nothing
_DARK, _NARROW = 0.02, 0.1  # of the largest pixel value: spread of the input below which it is nearly uniform
_STANDS_OUT = 0.1  # of the image's side, by which boxes may stand out
_UNRELIABLE = 0.5


class PhotoCheck(StoredModel):
    """What was found with one photograph; `folder` has `input.png`, and where it could be explained `record.json`.

    Attributes:
        photo: its path.
        folder: where pictures and the record lie.
        predictions: the strongest classes, or detections.
        warnings: what looks wrong.
    """

    photo: str
    folder: str
    predictions: list[Prediction]
    warnings: list[str]


def check_model(model: LoadedModel, photos: Sequence[Path], folder: Path) -> tuple[list[str], list[PhotoCheck]]:
    """Look at photographs through a model.

    Args:
        model: that is loaded.
        photos: encoded images.
        folder: an existing one; takes one folder for each photograph.

    Returns:
        What looks wrong with the model itself, and what was found with each photograph.

    Raises:
        RiseError: for a photograph that cannot be read.
    """
    checks = []
    for index, photo in enumerate(photos):
        place = folder / str(index)
        place.mkdir()
        checks.append(_check_photo(model, photo, place))
    return _warnings_of_model(model.black_box, checks), checks


def _check_photo(model: LoadedModel, photo: Path, folder: Path) -> PhotoCheck:
    content = photo.read_bytes()
    image = decode(content)
    shown = to_input(pixels(image)[None], model.black_box.preprocessing)[0]
    _as_picture(shown).save(folder / "input.png")
    predictions = predict_image(model.black_box, image, limit=_CLASSES)
    warnings = [
        *_warnings_of_input(shown, model.black_box.preprocessing),
        *_warnings_of_scores(model.black_box, image, predictions),
        *_warnings_of_explanation(model, content, predictions, folder),
    ]
    return PhotoCheck(photo=str(photo), folder=str(folder), predictions=predictions, warnings=warnings)


def _as_picture(shown: Tensor) -> Image.Image:
    return Image.fromarray((shown.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def _warnings_of_input(shown: Tensor, preprocessing: Preprocessing) -> list[str]:
    """Return what is suspicious about the numbers that a model is given for a photograph with contrast."""
    span = float(np.ptp(shown.numpy()))
    if span < _NARROW:
        return [f"the picture that the model is shown is nearly uniform: its pixel values span {span:.3f} of 1"]
    std = min(preprocessing.std)
    if std > 1 / _DARK:
        words = f"preprocessing.std: pixel values in 0..1 are divided by {std:g}, so that every picture is nearly black"
        return [f"{words}; std is of values in 0..1 (std = [0.00392157] for a model that takes 0..255)"]
    return []


def _warnings_of_scores(black_box: BlackBox, image: Image.Image, predictions: Sequence[Prediction]) -> list[str]:
    if isinstance(black_box, Detector):
        return _warnings_of_boxes(image, predictions)
    scores = [one.score for one in predictions]
    if isinstance(black_box, Segmenter):
        even = 1 / len(black_box.labels)  # what each class has at each place where nothing is seen
        if black_box.activation == "softmax" and scores and scores[0] < _ABOVE_EVEN * even:
            return [f"no class stands out anywhere, the strongest has {scores[0]:.3f}: look at preprocessing"]
        return []
    if len(scores) > 1 and scores[0] - scores[-1] < _ALIKE:
        words = f"the {len(scores)} strongest classes all have a score of about {scores[0]:.3f}"
        return [f"{words}: look at preprocessing (mean, std, channels) and outputs.activation"]
    return []


def _warnings_of_boxes(image: Image.Image, predictions: Sequence[Prediction]) -> list[str]:
    if not predictions:
        return ["nothing is detected in this photograph: look at preprocessing and outputs"]
    outside = [one for one in predictions if one.box is not None and not _is_inside(one.box, image.size)]
    if outside:
        return [
            f"{len(outside)} of {len(predictions)} boxes lie outside of the photograph: look at box_format, box_unit"
        ]
    return []


def _is_inside(box: Box, size: tuple[int, int]) -> bool:
    across, down = (_STANDS_OUT * side for side in size)
    x0, y0, x1, y1 = box
    return -across <= x0 < x1 <= size[0] + across and -down <= y0 < y1 <= size[1] + down


def _warnings_of_explanation(
    model: LoadedModel, content: bytes, predictions: Sequence[Prediction], folder: Path
) -> list[str]:
    """Explain what is strongest with few masks; leave the record in the folder."""
    if not predictions:
        return []
    targets = "top:1" if isinstance(model.black_box, Classifier) else None
    fields = {"model": model.id, "masks": _MASKS, "targets": targets}
    try:
        with torch.inference_mode():
            record = explain_locally(model, content, fields, folder, lambda _: None)
    except RiseError as error:
        return [f"it cannot be explained: {error.detail}"]
    (folder / "record.json").write_text(record.model_dump_json())
    first = record.targets[0]
    warnings = list(first.warnings)
    if first.reliability is not None and 0 < first.reliability < _UNRELIABLE:
        words = f"after {_MASKS} masks the map has a reliability of {first.reliability:.2f}"
        warnings.append(f"{words}: explanations of this model need many masks, or another grid or fill")
    return warnings


def _warnings_of_model(black_box: BlackBox, checks: Sequence[PhotoCheck]) -> list[str]:
    warnings = []
    labels = black_box.labels
    if labels == tuple(map(str, range(len(labels)))):
        warnings.append("labels: the classes have numbers and no names; name a file with one name a line")
    strongest = [(check.predictions[0].label, check.predictions[0].score) for check in checks if check.predictions]
    if len(checks) > 1 and len(strongest) == len(checks):
        scores = [score for _, score in strongest]
        if len({label for label, _ in strongest}) == 1 and max(scores) - min(scores) < _SAME:
            warnings.append("the model says the same of every photograph: look at preprocessing and outputs")
    return warnings
