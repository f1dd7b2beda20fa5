"""Pictures to explain with the models that ship, and their converged maps, kept between runs.

A reference is a long contrast run with a seed that nothing else uses. Its block effects lie in `build/bench/`
afterwards, a few megabytes, because the same fifty thousand masks serve every comparison.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from app.contract.saliency.geometry import BlockRenderer, Viewport
from bench.demo_training.batches import Recipe, draw_held_out_pictures
from bench.demo_training.pictures import draw_one_object, draw_several_objects
from workers.blackbox import BlackBox
from workers.demo import shapes, shapes_detector
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import method
from workers.saliency.estimators import Score

STORE = Path(__file__).parents[1] / "build" / "bench"
SEED = 999
BATCH = 32  # the fastest for networks as small as these
Map = NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """A method with one of the models that ship.

    Attributes:
        label: what it is called in tables.
        method: name of the method.
        load: loads the black box.
        recipe: how its pictures are drawn.
    """

    label: str
    method: str
    load: Callable[[], BlackBox]
    recipe: Recipe


SUBJECTS = (
    Subject("RISE on shapes", "rise", shapes.load, Recipe(draw_one_object, side=96)),
    Subject("D-RISE on shapes-detector", "drise", shapes_detector.load, Recipe(draw_several_objects, side=128)),
)


def pictures(subject: Subject, count: int) -> list[Image.Image]:
    """Return pictures that no training has seen."""
    return [Image.fromarray(drawn.image) for drawn in draw_held_out_pictures(subject.recipe, count, seed=77)]


def study_of(subject: Subject, black_box: BlackBox, picture: Image.Image, **parameters: object) -> ExplanationPlan:
    """Return the explanation of a picture's first target, to be run to its last mask."""
    plugin = method(subject.method)
    study = build_plan(black_box, picture, plugin, plugin.Parameters(until=1, **parameters), "top:1", batch=BATCH)
    return replace(study, problem=replace(study.problem, score=channels_last(study.problem.score)))


def channels_last(score: Score) -> Score:
    """Return the same scores, computed in the layout in which small networks are faster by a third."""
    return lambda masked: score(masked.contiguous(memory_format=torch.channels_last))


def pen_of(study: ExplanationPlan) -> BlockRenderer:
    """Return what draws maps at the size of the canvas."""
    canvas = study.problem.canvas
    return BlockRenderer(canvas, Viewport(canvas.height, canvas.width, canvas.view))


def converged_map(study: ExplanationPlan, name: str) -> Map:
    """Return the map of all blocks of a study, from the disk where it was computed before."""
    path = STORE / f"{name}-{study.blocks * study.block_size}.npy"
    if not path.exists():
        STORE.mkdir(parents=True, exist_ok=True)
        row = study.resolved.target_rows[0]
        np.save(path, np.stack([block.effects[row, 0] for block in study.run()]))
    pen, effects = pen_of(study), np.load(path)
    drawn = [pen.block(of_block, index).astype(np.float64) for index, of_block in enumerate(effects)]
    return np.asarray(np.mean(drawn, axis=0))


def reference_map(
    subject: Subject, black_box: BlackBox, picture: Image.Image, number: int, **parameters: object
) -> Map:
    """Return the converged map of the picture of that number.

    Args:
        subject: method and model.
        black_box: the model.
        picture: what is explained.
        number: of the picture, which names the file.
        parameters: `masks`, and what changes the estimand, such as `keep`.
    """
    study = study_of(subject, black_box, picture, seed=SEED, **parameters)
    cells = "x".join(map(str, study.design.grid))
    return converged_map(study, f"{subject.method}-{number}-{cells}-{study.parameters.keep:g}")
