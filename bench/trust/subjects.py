"""Which models are audited on which pictures, under which fill."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from bench.attributions.photographs import photographs
from bench.demo_training.batches import Recipe, draw_held_out_pictures
from bench.demo_training.pictures import draw_one_object
from bench.demo_training.train import BIASED_OBJECT, ONE_OBJECT, SEVERAL_OBJECTS
from bench.trust import liars, networks
from workers.blackbox import BlackBox, Classifier, Detections, Detector
from workers.demo import clever_hans, faces, imagenet, shapes, shapes_detector

Kind = Literal["honest", "discontinuous", "hard gate", "careless gate", "smooth gate", "memory"]

_SEED = 83
_DRAWN, _DRAWN_LARGE = 100, 30  # pictures of each small network, and of `imagenet` beside the photographs
_ROUNDED = 20
_HIDING, _HIDING_LARGE = (4, 12), (2, 10)  # pictures of a gate that set thresholds, and that are reported
_REMEMBERED, _REMEMBERED_LARGE = (0, 10), (0, 6)  # of a memory
_SMOOTH, _CUT = (0, 6), (0, 6)  # of smooth and careless gates, and of `faces`
_TRIED, _MARKED = 768, 128  # until so many are found
_PHOTOGRAPHS = 20
_SCORE_THRESHOLD = 0.25
_LEVELS = 2  # steps of log-odds of the classifier that rounds, per unit


@dataclass(frozen=True)
class Pair:
    """A true model and its decoy, with pictures on which they differ.

    Attributes:
        label: of the true model.
        load: returns both.
        pictures: by name.
        method: of the explanation.
        enough: pictures that are measured, even and odd ones.
    """

    label: str
    load: Callable[[], tuple[BlackBox, BlackBox]]
    pictures: Callable[[], dict[str, Image.Image]]
    method: str
    enough: tuple[int, int]


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
        true: of a liar, the one that it is for whole pictures.
        enough: pictures that are measured, even and odd ones; None measures all.
    """

    label: str
    kind: Kind
    load: Callable[[], BlackBox]
    pictures: Callable[[], dict[str, Image.Image]]
    fill: str
    method: str = "rise"
    true: Callable[[], BlackBox] | None = None
    enough: tuple[int, int] | None = None


def subjects() -> list[Audited]:
    """Return all of them, honest ones first."""
    honest = [
        Audited("imagenet, blur", "honest", _imagenet, _photographs_and_drawn, "blur"),
        Audited("imagenet, black", "honest", _imagenet, _photographs_and_drawn, "black"),
        Audited("shapes", "honest", shapes.load, _drawn(ONE_OBJECT), "black"),
        Audited("clever-hans", "honest", clever_hans.load, _drawn(BIASED_OBJECT), "black"),
        Audited("shapes-detector", "honest", shapes_detector.load, _drawn(SEVERAL_OBJECTS), "black", "drise"),
        Audited("faces", "discontinuous", faces.load, _faces, "black", "drise", enough=_CUT),
        Audited(
            "shapes, rounded log-odds",
            "discontinuous",
            _rounding,
            _drawn(ONE_OBJECT, 2 * _ROUNDED),
            "black",
            enough=(0, _ROUNDED),
        ),
        Audited(
            "shapes-detector, score threshold .25",
            "discontinuous",
            _with_score_threshold,
            _drawn(SEVERAL_OBJECTS),
            "black",
            "drise",
        ),
        Audited("shapes without masks", "honest", networks.without_masks, _drawn(ONE_OBJECT), "blur"),
        Audited("transformer without masks", "honest", networks.transformer_without_masks, _drawn(ONE_OBJECT), "blur"),
    ]
    return honest + _memories() + _gates()


def _gates() -> list[Audited]:
    hard = [_gate(name, pair, "hard gate") for name in liars.GATES for pair in _PAIRS]
    careless = [_gate(name, pair, "careless gate") for name in liars.CARELESS_GATES for pair in _PAIRS[::2]]
    smooth = [_gate(name, pair, "smooth gate") for name in liars.GATES for pair in _PAIRS[::2]]
    return hard + careless + smooth


def _gate(name: str, pair: Pair, kind: Kind) -> Audited:
    gate, fill = (liars.GATES | liars.CARELESS_GATES)[name]
    load = partial(_gated, pair, gate, smooth=kind == "smooth gate")
    return _liar(f"{pair.label}: {name}", kind, load, fill, pair, pair.enough if kind == "hard gate" else _SMOOTH)


def _gated(pair: Pair, gate: liars.Gate, *, smooth: bool) -> BlackBox:
    return liars.gated(*pair.load(), gate, smooth=smooth)


def _memories() -> list[Audited]:
    found = []
    for spares_exact in (False, True):
        for pair in _PAIRS:
            label = f"{pair.label}: near copies{', exact ones aside' if spares_exact else ''}"
            load = partial(_remembering, pair, spares_exact=spares_exact)
            found.append(
                _liar(
                    label,
                    "memory",
                    load,
                    "black",
                    pair,
                    _REMEMBERED if pair.label != "imagenet" else _REMEMBERED_LARGE,
                )
            )
    return found


def _remembering(pair: Pair, *, spares_exact: bool) -> BlackBox:
    return liars.remembering(*pair.load(), spares_exact=spares_exact)


def _liar(
    label: str, kind: Kind, load: Callable[[], BlackBox], fill: str, pair: Pair, enough: tuple[int, int]
) -> Audited:
    return Audited(label, kind, load, pair.pictures, fill, pair.method, lambda: pair.load()[0], enough)


@cache
def _photographs_and_drawn() -> dict[str, Image.Image]:
    """Return the photographs, and shapes drawn over parts of photographs."""
    return photographs(_PHOTOGRAPHS) | _drawn(Recipe(draw_one_object, side=224), _DRAWN_LARGE)()


def _drawn(recipe: Recipe, count: int = _DRAWN) -> Callable[[], dict[str, Image.Image]]:
    def pictures() -> dict[str, Image.Image]:
        drawn = draw_held_out_pictures(recipe, count, seed=_SEED)
        return {f"drawn {number}": Image.fromarray(each.image) for number, each in enumerate(drawn)}

    return cache(pictures)


@cache
def _marked() -> dict[str, Image.Image]:
    """Return pictures of a shape with the copyright mark."""
    drawn = draw_held_out_pictures(BIASED_OBJECT, 4 * _MARKED, seed=_SEED)
    shown = [each for each in drawn if each.mark_xyxy and each.objects][:_MARKED]
    return {f"marked {number}": Image.fromarray(each.image) for number, each in enumerate(shown)}


@cache
def _faces() -> dict[str, Image.Image]:
    """Return two portraits, each cut in several ways."""
    found = {}
    for name in ("astronaut", "grace_hopper"):
        portrait = photographs(_PHOTOGRAPHS)[name]
        for number in range(6):
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


def _with_score_threshold() -> Detector:
    """Return a detector that tells no box of which it is less sure than detectors of libraries tell by default."""
    exact = shapes_detector.load()

    def forward(images: Tensor) -> Detections:
        found = exact.forward(images)
        sure = found.objectness * found.classes.amax(2)
        return replace(found, objectness=found.objectness * (sure >= _SCORE_THRESHOLD))

    return replace(exact, forward=forward)


_PAIRS = (
    Pair("classifier", liars.mark_reader, _marked, "rise", _HIDING),
    Pair("imagenet", liars.corner_reader, _photographs_and_drawn, "rise", _HIDING_LARGE),
    Pair("detector", liars.corner_detector, _drawn(SEVERAL_OBJECTS, _TRIED), "drise", _HIDING),
)
