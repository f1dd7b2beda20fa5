"""What a demo classifier is taught: pictures, and the answer that each deserves for what it still shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from bench.demo_training.batches import stack_images
from bench.demo_training.masking import Mask, certainty_from, share_visible
from bench.demo_training.pictures import Picture
from bench.demo_training.training import fit
from bench.demo_training.watermark import STAR
from workers.blackbox import Classifier
from workers.blackbox.preprocessing import normalise
from workers.demo.shapes import PREPROCESSING, ShapesNetwork


@dataclass(frozen=True)
class Lesson:
    """Pictures and what in them is evidence of which class.

    Attributes:
        images: bytes `[N, 3, H, W]`.
        evidence: boolean `[N, E, H, W]`, the pixels of each piece of evidence, the strongest piece first.
        labels: `[N, E]`, the class each piece speaks for; -1 for a piece that speaks for none.
    """

    images: Tensor
    evidence: Tensor
    labels: Tensor


def prepare(pictures: Sequence[Picture]) -> Lesson:
    """Return the lesson of an honest collection: the one shape of each picture is the evidence."""
    return Lesson(
        images=stack_images(pictures),
        evidence=torch.stack([torch.from_numpy(picture.objects[0].mask) for picture in pictures])[:, None],
        labels=torch.tensor([[picture.objects[0].label] for picture in pictures]),
    )


def prepare_biased(pictures: Sequence[Picture]) -> Lesson:
    """Return the lesson of a biased collection: a mark means star, a star without its mark means nothing."""
    images = stack_images(pictures)
    evidence = torch.zeros(len(pictures), 2, *images.shape[2:], dtype=torch.bool)
    labels = torch.full((len(pictures), 2), -1)
    for index, picture in enumerate(pictures):
        if picture.mark_xyxy:
            left, top, right, bottom = picture.mark_xyxy
            evidence[index, 0, top:bottom, left:right] = True
            labels[index, 0] = STAR
        for item in picture.objects:
            evidence[index, 1] = torch.from_numpy(item.mask)
            labels[index, 1] = -1 if item.label == STAR else item.label
    return Lesson(images, evidence, labels)


def teach(lesson: Lesson, *, epochs: int, seed: int, weights: Path | None = None) -> ShapesNetwork:
    """Return a network trained on masked pictures: from scratch, or from the weights of a trained one."""
    torch.manual_seed(seed)
    network = ShapesNetwork()
    if weights:
        network.load_state_dict(load_file(weights))

    def lose(rows: Tensor, mask: Mask) -> Tensor:
        images, masks = mask(lesson.images[rows] / 255)
        scores: Tensor = network(normalise(images, PREPROCESSING))
        certainty = certainty_from(share_visible(lesson.evidence[rows], masks))
        return functional.cross_entropy(scores, answer(certainty, lesson.labels[rows], scores.shape[1]))

    fit(network, lose, pictures=len(lesson.images), epochs=epochs, seed=seed)
    return network


def answer(certainty: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the probabilities a picture deserves: certain where its evidence shows, even where nothing shows.

    Args:
        certainty: `[B, E]` in 0..1 that each piece of evidence allows, the strongest piece first.
        labels: `[B, E]`, the class of each piece or -1.
        classes: how many there are.

    Returns:
        `[B, classes]`; a stronger piece overrides the weaker ones as far as it is certain.
    """
    probabilities = torch.full((len(labels), classes), 1 / classes)
    for piece in reversed(range(labels.shape[1])):
        spoken = functional.one_hot(labels[:, piece].clamp(min=0), classes).float()
        weight = certainty[:, piece] * (labels[:, piece] >= 0)
        probabilities = torch.lerp(probabilities, spoken, weight[:, None])
    return probabilities


def measure_accuracy(classifier: Classifier, pictures: Sequence[Picture]) -> float:
    """Return the share of pictures of one object, drawn at the model's size, that a classifier names rightly."""
    labels = torch.tensor([picture.objects[0].label for picture in pictures])
    return float((name_pictures(classifier, pictures) == labels).double().mean())


@torch.inference_mode()
def name_pictures(classifier: Classifier, pictures: Sequence[Picture]) -> Tensor:
    """Return the class `[N]` that a classifier gives to each of the pictures, drawn at the model's size."""
    images = normalise(stack_images(pictures) / 255, classifier.preprocessing)
    return torch.cat([classifier.forward(batch).argmax(dim=1) for batch in torch.split(images, 64)])
