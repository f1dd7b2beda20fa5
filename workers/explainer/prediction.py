"""Predictions of a model for the whole, unmasked image."""

from typing import Any

import torch
from PIL import Image

from app.contract.schemas import Prediction
from workers.blackbox import BlackBox, Classifier, Segmenter
from workers.blackbox.preprocessing import CoordinateTransform, input_transform, normalise, pixels, to_input
from workers.explainer.detection_targets import distinct_detections
from workers.explainer.region_targets import region_predictions
from workers.explainer.targets import probabilities, top_classes

_THRESHOLD = 0.05  # so that weak detections are listed too


def predict_image(black_box: BlackBox, image: Image.Image, *, limit: int) -> list[Prediction]:
    """Return the classes or detections in an upright RGB image, highest score first."""
    picture = pixels(image).to(black_box.device)[None]
    with torch.inference_mode():
        normalised = normalise(to_input(picture, black_box.preprocessing), black_box.preprocessing)
        transform = input_transform(image.width, image.height, black_box.preprocessing)
        outputs = black_box.forward(normalised.to(black_box.dtype))
        return predictions_of(black_box, outputs, transform, limit=limit)


def predictions_of(
    black_box: BlackBox, outputs: Any, transform: CoordinateTransform, *, limit: int
) -> list[Prediction]:
    """Return the classes or detections in a model's raw outputs for one image, highest score first."""
    if isinstance(black_box, Classifier):
        return top_classes(black_box, probabilities(black_box, outputs)[0], limit)
    if isinstance(black_box, Segmenter):
        return region_predictions(black_box, outputs, transform, limit=limit)
    found = distinct_detections(black_box, outputs, transform, threshold=_THRESHOLD, limit=limit)
    return [one.prediction for one in found]
