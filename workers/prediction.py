"""What a model says about the whole, unmasked image."""

import torch
from PIL import Image

from app.contract.schemas import Prediction
from workers.blackbox import BlackBox, Classifier
from workers.preprocessing import normalise, pixels, to_input
from workers.targets import probabilities, top_classes


def predict_image(black_box: BlackBox, image: Image.Image, *, limit: int) -> list[Prediction]:
    """Return the classes that a model sees in an upright RGB image, the most probable first, at most `limit`."""
    if not isinstance(black_box, Classifier):
        raise TypeError("only classifiers can be asked so far")
    picture = pixels(image).to(black_box.device)[None]
    with torch.inference_mode():
        shown = normalise(to_input(picture, black_box.preprocessing), black_box.preprocessing)
        scores = probabilities(black_box, black_box.forward(shown.to(black_box.dtype)))[0]
    return top_classes(black_box, scores, limit)
