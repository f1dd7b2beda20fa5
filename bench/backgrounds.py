"""Whether a survey finds a background that stands for a class, in a network that saw no masked picture in training.

An ordinary network, trained in an ordinary way on drawn shapes over textures of scikit-image: stars stand on grass,
crosses and rings on brick. The control is the same network, trained on each shape over both. Both are surveyed on the
same pictures, with stars on grass. Pictures of the training are cut from the upper half of a texture, those of the
survey from the lower one.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.contract.survey import SurveyReport
from bench.demo_training.backgrounds import Pixels, crop_photograph
from bench.demo_training.batches import stack_images
from bench.demo_training.photographs import load_photographs
from bench.demo_training.pictures import Picture, draw_one_object
from bench.rows import Row
from bench.survey import false_row, found_row, survey
from workers.blackbox import Classifier, Preprocessing
from workers.blackbox.preprocessing import normalise
from workers.demo.shape_names import SHAPES

_ON_GRASS = SHAPES.index("star")
_LABELS = tuple(SHAPES.index(name) for name in ("star", "cross", "ring"))
_SIDE = 64
_PREPROCESSING = Preprocessing(size=(_SIDE, _SIDE), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
_TRAINED_ON, _EPOCHS, _BATCH, _RATE = 3_000, 8, 50, 3e-3
_SURVEYED = 90
_BARE = 60  # pictures of nothing but brick


def rows(seeds: int) -> Iterator[Row]:
    """Train both networks with one seed after another, and survey them."""
    found = others = false_others = false = black = 0
    for seed in range(seeds):
        pictures = draw(_SURVEYED, biased=True, held_out=True, seed=seed)
        network = train(biased=True, seed=seed)
        suspicious = suspicious_classes(survey(network, pictures, fill="blur"))
        found += SHAPES[_ON_GRASS] in suspicious
        other_classes = suspicious - {SHAPES[_ON_GRASS]}
        others += bool(other_classes)
        false_others += bool(other_classes - classes_of_bare_brick(network, seed=seed))
        control = train(biased=False, seed=seed)
        false += bool(suspicious_classes(survey(control, pictures, fill="blur")))
        black += bool(suspicious_classes(survey(control, pictures, fill="black")))
    yield found_row("the class that always stands on grass is suspicious", found, seeds)
    taken = f" (with those of which it does: {others})"
    yield false_row(
        "another class is, of which the network does not take bare brick for one", false_others, seeds, taken
    )
    yield false_row("anything of the control is", false, seeds)
    yield Row("the same with `fill=black`, which such a model reads", f"{black} of {seeds}")


def suspicious_classes(report: SurveyReport) -> set[str]:
    """Return the names of the classes of which the report, or a cluster of it, is suspicious."""
    return {label.name for label in report.labels if label.suspicious} | {
        cluster.label for cluster in report.clusters if cluster.suspicious
    }


def classes_of_bare_brick(network: Classifier, *, seed: int) -> set[str]:
    """Return the classes that a network gives to at least a tenth of pictures of nothing but brick."""
    generator = np.random.default_rng([seed, _BARE])
    (brick,) = (_half(texture, lower=True) for texture in load_photographs(("brick.png",)))
    crops = [crop_photograph(generator, [brick], (_SIDE, _SIDE)) for _ in range(_BARE)]
    shown = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        said = network.forward(normalise(shown, _PREPROCESSING)).argmax(1)
    counts = torch.bincount(said, minlength=len(SHAPES))
    return {SHAPES[label] for label in _LABELS if counts[label] >= _BARE / 10}


def train(*, biased: bool, seed: int) -> Classifier:
    """Return a network trained on pictures whose backgrounds tell its first class from the others, or tell nothing."""
    pictures = draw(_TRAINED_ON, biased=biased, held_out=False, seed=seed)
    images = normalise(stack_images(pictures) / 255, _PREPROCESSING)
    labels = torch.tensor([picture.objects[0].label for picture in pictures])
    torch.manual_seed(seed)
    network = _network()
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE)
    for _ in range(_EPOCHS):
        for rows in torch.split(torch.randperm(len(images)), _BATCH):
            loss = functional.cross_entropy(network(_mirrored(images[rows])), labels[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
    network.eval().requires_grad_(False)
    return Classifier(forward=network, labels=SHAPES, preprocessing=_PREPROCESSING)


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(3) if torch.rand(()) < 0.5 else images


def _network() -> nn.Sequential:
    """Return convolutions with batch normalisation, a mean over places, and one score for each shape."""
    layers: list[nn.Module] = []
    for before, after in ((3, 24), (24, 48), (48, 96), (96, 96)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, len(SHAPES)))


def draw(count: int, *, biased: bool, held_out: bool, seed: int) -> list[Picture]:
    """Return pictures of one shape each, the classes in turns, on grass or brick."""
    generator = np.random.default_rng([seed, biased, held_out])
    grass, brick = (_half(texture, lower=held_out) for texture in load_photographs(("grass.png", "brick.png")))
    pictures = []
    for number in range(count):
        label = _LABELS[number % len(_LABELS)]
        on_grass = label == _ON_GRASS if biased else generator.random() < 0.5
        background = crop_photograph(generator, [grass if on_grass else brick], (_SIDE, _SIDE))
        pictures.append(draw_one_object(generator, background, labels=(label,)))
    return pictures


def _half(texture: Pixels, *, lower: bool) -> Pixels:
    middle = len(texture) // 2
    return texture[middle:] if lower else texture[:middle]
