"""What the demo detector is taught: pictures, and per cell the proposal it deserves for what still shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.demo_training.batches import stack_images
from bench.demo_training.masking import Mask, certainty_from, share_visible
from bench.demo_training.pictures import Picture
from bench.demo_training.training import fit
from workers.blackbox.preprocessing import normalise
from workers.demo.shape_names import SHAPES
from workers.demo.shapes_detector import PREPROCESSING, STRIDE, ShapesDetectorNetwork, cell_centres, decode

_MOST_OBJECTS = 4
_WIDTH_OF_THE_PEAK = 0.7  # standard deviation in cells


@dataclass(frozen=True)
class Lesson:
    """Pictures and their objects, padded to four.

    Attributes:
        images: bytes `[N, 3, H, W]`.
        boxes_xyxy: `[N, 4, 4]` in pixels; padding lies far outside the picture.
        labels: `[N, 4]`; 0 for padding.
        parts: boolean `[N, 4, H / 2, W / 2]`, the pixels of each object at half the resolution, to save memory.
    """

    images: Tensor
    boxes_xyxy: Tensor
    labels: Tensor
    parts: Tensor


@dataclass(frozen=True)
class Deserved:
    """What each of the P cells of a batch should propose.

    Attributes:
        objectness: `[B, P]` in 0..1, 1 at the centre of an object that shows.
        owners: `[B, P]`, which object a cell stands for.
        weights: `[B, P]`, how much a cell's box and class count; 0 away from the centres of objects.
    """

    objectness: Tensor
    owners: Tensor
    weights: Tensor


def prepare(pictures: Sequence[Picture]) -> Lesson:
    """Return a lesson from pictures of one to four objects."""
    boxes_xyxy = torch.full((len(pictures), _MOST_OBJECTS, 4), -1e4)
    labels = torch.zeros(len(pictures), _MOST_OBJECTS, dtype=torch.long)
    height, width = (side // 2 for side in pictures[0].image.shape[:2])
    parts = torch.zeros(len(pictures), _MOST_OBJECTS, height, width, dtype=torch.bool)
    for index, picture in enumerate(pictures):
        for place, item in enumerate(picture.objects):
            boxes_xyxy[index, place] = torch.tensor(item.box_xyxy)
            labels[index, place] = item.label
            parts[index, place] = torch.from_numpy(np.ascontiguousarray(item.mask[::2, ::2]))
    return Lesson(stack_images(pictures), boxes_xyxy, labels, parts)


def teach(lesson: Lesson, *, epochs: int, seed: int) -> ShapesDetectorNetwork:
    """Return a detector trained from scratch on masked pictures."""
    torch.manual_seed(seed)
    network = ShapesDetectorNetwork()

    def lose(rows: Tensor, mask: Mask) -> Tensor:
        images, masks = mask(lesson.images[rows] / 255)
        proposals: Tensor = network(normalise(images, PREPROCESSING))
        certainty = certainty_from(share_visible(lesson.parts[rows], masks[:, :, ::2, ::2]))
        return _compare(proposals, lesson.boxes_xyxy[rows], lesson.labels[rows], certainty)

    fit(network, lose, pictures=len(lesson.images), epochs=epochs, seed=seed)
    return network


def deserve(boxes_xyxy: Tensor, certainty: Tensor) -> Deserved:
    """Return what each cell should propose for objects `[B, 4, 4]` of which the picture allows a certainty `[B, 4]`."""
    centres = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2  # [B, 4, 2]
    cells = (centres / STRIDE).floor() + 0.5
    steps = (cell_centres(boxes_xyxy.device) / STRIDE)[None, :, None] - cells[:, None]  # [B, P, 4, 2]
    peaks = torch.exp(steps.square().sum(dim=3) / (-2 * _WIDTH_OF_THE_PEAK**2))
    weights, owners = peaks.max(dim=2)
    return Deserved((peaks * certainty[:, None]).amax(dim=2), owners, weights * (weights > 0.1))


def generalised_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the generalised intersection over union, -1..1, of boxes `[..., 4]` pair by pair.

    Source: Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1.
    """
    shared = _area(torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:]))
    hull = _area(torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:]))
    union = _area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:]) - shared
    return shared / union - (hull - union) / hull


def _compare(proposals: Tensor, boxes_xyxy: Tensor, labels: Tensor, certainty: Tensor) -> Tensor:
    """Return the loss of raw proposals: focal for objectness (CenterNet's exponent 2), boxes, then shapes."""
    deserved = deserve(boxes_xyxy, certainty)
    found = decode(proposals)
    surprise = functional.binary_cross_entropy_with_logits(proposals[..., 0], deserved.objectness, reduction="none")
    objectness = ((deserved.objectness - found.objectness).detach().square() * surprise).sum()
    owned = deserved.owners[..., None].expand(-1, -1, 4)
    sureness = certainty.gather(1, deserved.owners)  # [B, P]
    misfit = 1 - generalised_overlap(found.boxes_xyxy, boxes_xyxy.gather(1, owned))
    even = 1 / len(SHAPES)
    spoken = functional.one_hot(labels.gather(1, deserved.owners), len(SHAPES))
    answers = even + sureness[..., None] * (spoken - even)  # [B, P, C]
    confusion = -(answers * proposals[..., 5:].log_softmax(dim=2)).sum(dim=2)
    losses = (deserved.weights * (confusion + 2 * sureness * misfit)).sum() + 4 * objectness
    return losses / deserved.weights.sum()


def _area(top_left: Tensor, bottom_right: Tensor) -> Tensor:
    return (bottom_right - top_left).clamp(min=0).prod(dim=-1)
