"""Maps of a picture's most probable class by several methods, with the same model, grid, fill and number of passes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from smqtk_classifier.interfaces.classify_image import ClassifyImage
from torch import Tensor
from torch.nn import functional
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise import RISEStack

from bench.attributions.sensitivity import Numbers, ScoreCells, hsic_map, sobol_map
from bench.reference import BATCH, Map, pen_of
from workers.blackbox import Classifier
from workers.blackbox.preprocessing import normalise, pixels, to_input
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import method
from workers.saliency.estimators import Score

FILL = "black"  # which is all that xaitk-saliency knows of
GRID = 8  # cells along each side: ours by default, and as many as both papers of others recommend


@dataclass(frozen=True)
class ExplainedPicture:
    """A picture and the model that is asked about it.

    Attributes:
        name: of both, in the names of files.
        model: the classifier.
        image: upright, RGB.
        layout: makes of the model's score the same score, computed in the layout that is fastest.
        default_fill: what hides by default.
    """

    name: str
    model: Classifier
    image: Image.Image
    layout: Callable[[Score], Score]
    default_fill: str = FILL

    def plan(self, **parameters: object) -> ExplanationPlan:
        """Return a RISE explanation of the most probable class with the default parameters, but for these."""
        plugin = method("rise")
        chosen = plugin.Parameters.model_validate({"fill": self.default_fill} | parameters)
        plan = build_plan(self.model, self.image, plugin, chosen, "top:1", batch=BATCH)
        return replace(plan, problem=replace(plan.problem, score=self.layout(plan.problem.score)))

    def equal_plan(self, **parameters: object) -> ExplanationPlan:
        """Return the same at the grid and fill that all methods share."""
        return self.plan(grid=GRID, fill=FILL, **parameters)

    def score(self) -> Callable[[Tensor], Tensor]:
        """Return what gives masked pictures `[B, 3, H, W]` on the canvas the score of that class, `[B]`."""
        plan = self.equal_plan()
        row = plan.resolved.target_rows[0]
        return lambda masked: plan.problem.score(masked)[:, row].float()


MakeMap = Callable[[ExplainedPicture, int, int], Map]
"""Picture, passes, seed -> the map on the canvas, `[H, W]`."""


def contrast_map(picture: ExplainedPicture, passes: int, seed: int) -> Map:
    """Return our map after so many passes, rounded down to blocks."""
    plan = picture.equal_plan(until=1, masks=passes, seed=seed)
    pen, row = pen_of(plan), plan.resolved.target_rows[0]
    blocks = range(max(1, passes // plan.block_size))
    pipeline = plan.pipeline()
    drawn = [pen.block(pipeline.block(index).effects[row, 0], index).astype(np.float64) for index in blocks]
    return np.asarray(np.mean(drawn, axis=0))


def published_map(picture: ExplainedPicture, passes: int, seed: int) -> Map:
    """Return the map of RISE as published (Petsiuk, Das, Saenko 2018)."""
    plan = picture.equal_plan(until=1, masks=passes, seed=seed, estimator="paper")
    row = plan.resolved.target_rows[0]
    return np.asarray(np.mean([block.effects[row, 0] for block in plan.run()], axis=0, dtype=np.float64))


def hsic(picture: ExplainedPicture, passes: int, seed: int) -> Map:
    """Return the HSIC of each cell, enlarged by a cubic spline as the authors do."""
    return _enlarged(picture, hsic_map(_score_cells(picture), (GRID, GRID), passes=passes, seed=seed))


def sobol(picture: ExplainedPicture, passes: int, seed: int) -> Map:
    """Return the total Sobol index of each cell, enlarged likewise."""
    return _enlarged(picture, sobol_map(_score_cells(picture), (GRID, GRID), passes=passes, seed=seed))


def _score_cells(picture: ExplainedPicture) -> ScoreCells:
    """Return the score of pictures of which square cells are more or less visible, with sharp edges, as both papers."""
    problem, score = picture.equal_plan().problem, picture.score()
    image, fill = problem.image, problem.fills[0]
    across, down = (torch.arange(side) * GRID // side for side in (problem.canvas.width, problem.canvas.height))

    def scores(cells: Numbers) -> Numbers:
        found = []
        with torch.inference_mode():
            for start in range(0, len(cells), BATCH):
                visible = torch.from_numpy(cells[start : start + BATCH].astype(np.float32))[:, down][:, :, across]
                found.append(score(torch.lerp(fill, image, visible[:, None])))
        return torch.cat(found).double().numpy()

    return scores


def _enlarged(picture: ExplainedPicture, cells: Numbers) -> Map:
    canvas = picture.equal_plan().problem.canvas
    size = (canvas.height, canvas.width)
    drawn: Map = functional.interpolate(torch.from_numpy(cells)[None, None], size, mode="bicubic")[0, 0].numpy()
    return drawn


class _TargetInXaitk(ClassifyImage):
    """The explained class alone, as xaitk-saliency wants a classifier; it is asked batch by batch."""

    def __init__(self, picture: ExplainedPicture) -> None:
        self._score = picture.score()
        self._preprocessing = picture.model.preprocessing

    def get_labels(self) -> list[str]:
        return ["it"]

    def classify_images(self, img_iter: Any) -> Iterator[dict[str, float]]:
        waiting: list[NDArray[np.uint8]] = []
        for image in img_iter:
            waiting.append(image)
            if len(waiting) == BATCH:
                yield from self._scores(waiting)
                waiting = []
        yield from self._scores(waiting)

    def _scores(self, images: list[NDArray[np.uint8]]) -> Iterator[dict[str, float]]:
        if images:
            shown = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                values = self._score(normalise(shown, self._preprocessing).contiguous()).tolist()
            yield from ({"it": value} for value in values)

    def get_config(self) -> dict[str, Any]:
        return {}


def xaitk_map(picture: ExplainedPicture, passes: int, seed: int) -> Map:
    """Return the map of xaitk-saliency, which hides with black too."""
    stack = RISEStack(n=passes, s=GRID, p1=0.5, seed=seed, threads=0, debiased=True)
    canvas = to_input(pixels(picture.image)[None], picture.model.preprocessing)[0]
    shown = (canvas.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return np.asarray(stack.generate(shown, _TargetInXaitk(picture))[0], dtype=np.float64)
