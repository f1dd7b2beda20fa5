"""`faces`: OpenCV's cascade for frontal faces, a detector that is no neural network.

The cascade (Viola, Jones, CVPR 2001) ships with OpenCV below version 5; its
raw windows, before grouping, are the proposals.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.blackbox import Detections, Detector, Preprocessing

_SURE = 5.0  # score of a window that counts as certain
_SIDE = (256, 256)


def load() -> Detector:
    """Return the cascade as a detector of one class."""
    path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
    cascade = cv2.CascadeClassifier(str(path))
    preprocessing = Preprocessing(size=_SIDE, resize="letterbox")
    return Detector(lambda images: _propose(cascade, images), ("face",), preprocessing, files=(path,))


def _propose(cascade: cv2.CascadeClassifier, images: Tensor) -> Detections:
    """Return every window that passes the cascade, padded with windows of objectness 0."""
    pictures = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    found = [_windows(cascade, picture) for picture in pictures]
    most = max(1, *(len(boxes) for boxes, _ in found))
    boxes, objectness = torch.zeros(len(found), most, 4), torch.zeros(len(found), most)
    for row, (corners, scores) in enumerate(found):
        boxes[row, : len(corners)] = torch.from_numpy(corners)
        objectness[row, : len(scores)] = torch.from_numpy(scores)
    device = images.device
    return Detections(boxes.to(device), torch.ones(len(found), most, 1, device=device), objectness.to(device))


def _windows(
    cascade: cv2.CascadeClassifier, picture: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    windows, _, weights = cascade.detectMultiScale3(grey, 1.1, minNeighbors=0, outputRejectLevels=True)
    boxes = np.asarray(windows).reshape(-1, 4)
    if len(boxes) == 0:
        return np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.float32)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32)
    return corners, np.clip(np.asarray(weights, dtype=np.float32).ravel() / _SURE, 0, 1)
