"""Predictions of a model for the whole, unmasked image."""

import torch
from PIL import Image

from app.contract.schemas import Prediction
from workers.blackbox import BlackBox, Classifier, Segmenter
from workers.blackbox.preprocessing import input_transform, normalise, pixels, to_input
from workers.explainer.detection_targets import distinct_detections
from workers.explainer.region_targets import region_predictions
from workers.explainer.targets import probabilities, top_classes

_THRESHOLD = 0.05  # so that weak detections are listed too


def predict_image(black_box: BlackBox, image: Image.Image, *, limit: int) -> list[Prediction]:
    """Return the classes or detections in an upright RGB image, highest score first."""
    picture = pixels(image).to(black_box.device)[None]
    with torch.inference_mode():
        normalised = normalise(to_input(picture, black_box.preprocessing), black_box.preprocessing)
        if isinstance(black_box, Classifier):
            scores = probabilities(black_box, black_box.forward(normalised.to(black_box.dtype)))[0]
            return top_classes(black_box, scores, limit)
        transform = input_transform(image.width, image.height, black_box.preprocessing)
        if isinstance(black_box, Segmenter):
            outputs = black_box.forward(normalised.to(black_box.dtype))
            return region_predictions(black_box, outputs, transform, limit=limit)
        detections = black_box.forward(normalised.to(black_box.dtype))
        found = distinct_detections(black_box, detections, transform, threshold=_THRESHOLD, limit=limit)
    return [one.prediction for one in found]
