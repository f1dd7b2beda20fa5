"""Which models are audited on which pictures, under which fill."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

import torch
from PIL import Image

from bench.attributions.photographs import photographs
from bench.demo_training.batches import Recipe, draw_held_out_pictures
from bench.demo_training.pictures import draw_one_object
from bench.demo_training.train import BIASED_OBJECT, ONE_OBJECT, SEVERAL_OBJECTS
from bench.trust import liars, networks
from workers.blackbox import BlackBox, Classifier
from workers.demo import clever_hans, faces, imagenet, shapes, shapes_detector

Pair = Callable[[], tuple[BlackBox, BlackBox]]
"""Returns a true model and its decoy."""

Kind = Literal["honest", "discontinuous", "hard gate", "smooth gate", "memory"]

_SEED = 83
_MANY, _SOME, _FEW, _FEWEST = 50, 24, 8, 2
_PHOTOGRAPHS = 20
_LEVELS = 2  # steps of log-odds of the classifier that rounds, per unit


@dataclass(frozen=True)
class Audited:
    """A model with its pictures.

    Attributes:
        label: what it is called in tables.
        kind: of the model.
        load: returns it, with an empty memory.
        pictures: by name.
        fill: what hides.
        method: of the explanation.
        true: of a gated model, the one that it is for whole pictures.
    """

    label: str
    kind: Kind
    load: Callable[[], BlackBox]
    pictures: Callable[[], dict[str, Image.Image]]
    fill: str
    method: str = "rise"
    true: Callable[[], BlackBox] | None = None


def subjects() -> list[Audited]:
    """Return all of them, honest ones first."""
    honest = [
        Audited("imagenet, blur", "honest", _imagenet, _photographs_and_drawn, "blur"),
        Audited("imagenet, black", "honest", _imagenet, _photographs_and_drawn, "black"),
        Audited("shapes", "honest", shapes.load, _drawn(ONE_OBJECT), "black"),
        Audited("clever-hans", "honest", clever_hans.load, _drawn(BIASED_OBJECT), "black"),
        Audited("shapes-detector", "honest", shapes_detector.load, _drawn(SEVERAL_OBJECTS), "black", "drise"),
        Audited("faces", "discontinuous", faces.load, _faces, "black", "drise"),
        Audited("shapes, rounded log-odds", "discontinuous", _rounding, _drawn(ONE_OBJECT, _FEW), "black"),
    ]
    trained = [
        Audited("shapes without masks", "honest", networks.without_masks, _drawn(ONE_OBJECT), "blur"),
        Audited("vision transformer", "honest", networks.transformer, _drawn(ONE_OBJECT), "black"),
    ]
    return honest + _memories() + _gates() + trained


def _gates() -> list[Audited]:
    found = []
    for name, (gate, fill) in liars.GATES.items():
        for smooth in (False, True):
            kind: Kind = "smooth gate" if smooth else "hard gate"
            for model, pair, pictures, method in _PAIRS:
                if model == "imagenet" and smooth and name != "network":
                    continue  # because each takes minutes there, and smooth gates are reported, not found
                load = partial(_gated, pair, gate, smooth=smooth)
                found.append(Audited(f"{model}: {name}", kind, load, pictures, fill, method, partial(_true, pair)))
    return found


def _true(pair: Pair) -> BlackBox:
    return pair()[0]


def _gated(pair: Pair, gate: liars.Gate, *, smooth: bool) -> BlackBox:
    true, decoy = pair()
    return liars.gated(true, decoy, gate, smooth=smooth)


def _memories() -> list[Audited]:
    found = []
    for spares_exact in (False, True):
        for model, pair, pictures, method in _PAIRS:
            label = f"{model}: near copies{', exact ones aside' if spares_exact else ''}"
            load = partial(_remembering, pair, spares_exact=spares_exact)
            found.append(Audited(label, "memory", load, pictures, "black", method))
    return found


def _remembering(pair: Pair, *, spares_exact: bool) -> BlackBox:
    true, decoy = pair()
    return liars.remembering(true, decoy, spares_exact=spares_exact)


@cache
def _photographs_and_drawn() -> dict[str, Image.Image]:
    return photographs(_PHOTOGRAPHS) | _drawn(Recipe(draw_one_object, side=224), _MANY - _PHOTOGRAPHS)()


def _drawn(recipe: Recipe, count: int = _SOME) -> Callable[[], dict[str, Image.Image]]:
    def pictures() -> dict[str, Image.Image]:
        drawn = draw_held_out_pictures(recipe, count, seed=_SEED)
        return {f"drawn {number}": Image.fromarray(each.image) for number, each in enumerate(drawn)}

    return cache(pictures)


@cache
def _marked() -> dict[str, Image.Image]:
    """Return pictures of a shape with the copyright mark."""
    drawn = draw_held_out_pictures(BIASED_OBJECT, 8 * _FEW, seed=_SEED)
    shown = [each for each in drawn if each.mark_xyxy and each.objects][:_FEW]
    return {f"marked {number}": Image.fromarray(each.image) for number, each in enumerate(shown)}


@cache
def _some_photographs() -> dict[str, Image.Image]:
    return dict(list(photographs(_PHOTOGRAPHS).items())[:_FEWEST])


@cache
def _faces() -> dict[str, Image.Image]:
    """Return two portraits, each cut in several ways."""
    found = {}
    for name in ("astronaut", "grace_hopper"):
        portrait = photographs(_PHOTOGRAPHS)[name]
        for number in range(10):
            cut = 0.02 * number
            width, height = portrait.size
            box = (round(cut * width), 0, round((1 - cut / 2) * width), round((1 - cut) * height))
            found[f"{name} {number}"] = portrait.crop(box)
    return found


@cache
def _imagenet() -> Classifier:
    return imagenet.load(torch.device("cpu"))


def _rounding() -> Classifier:
    exact = shapes.load()
    return replace(exact, forward=lambda images: (exact.forward(images) * _LEVELS).round() / _LEVELS)


_PAIRS: tuple[tuple[str, Pair, Callable[[], dict[str, Image.Image]], str], ...] = (
    ("classifier", liars.mark_reader, _marked, "rise"),
    ("imagenet", liars.corner_reader, _some_photographs, "rise"),
    ("detector", liars.corner_detector, _drawn(SEVERAL_OBJECTS, _FEW), "drise"),
)
