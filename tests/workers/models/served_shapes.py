"""The shipped models as a server of the Open Inference Protocol has them, and the entries that name it."""

import json

import numpy as np
import torch

from tests.workers.models.inference_server import Array
from workers.demo import shapes, shapes_detector
from workers.demo.shape_names import SHAPES

LABELS = json.dumps(list(SHAPES))
LOCAL = """
[local]
loader = "python"
source = "workers.demo.shapes:load"
[local-detector]
loader = "python"
source = "workers.demo.shapes_detector:load"
"""
PREPROCESSING = "preprocessing = { mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }"


def remote(url: str, name: str = "remote", more: str = "", options: str = "") -> str:
    return f"""
[{name}]
loader = "open-inference"
source = "{url}/v2/models/{name}"
labels = {LABELS}
limits = {{ batch = 16 }}
{PREPROCESSING}
{more}
[{name}.options]
{options}
"""


def classify(pictures: Array) -> dict[str, Array]:
    with torch.inference_mode():
        return {"logits": CLASSIFIER.forward(torch.from_numpy(np.array(pictures, dtype=np.float32))).numpy()}


def detect(pictures: Array) -> dict[str, Array]:
    with torch.inference_mode():
        found = DETECTOR.forward(torch.from_numpy(np.array(pictures, dtype=np.float32)))
    return {
        "boxes": found.boxes_xyxy.numpy(),
        "scores": found.classes.numpy(),
        "objectness": found.objectness.numpy(),
    }


CLASSIFIER, DETECTOR = shapes.load(), shapes_detector.load()
SHAPE, DETECTOR_SHAPE = [-1, 3, 96, 96], [-1, 3, 128, 128]
