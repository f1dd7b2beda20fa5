"""Black boxes whose maps are known, and short ways to explain with them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.contract.saliency.geometry import viewport_of_image
from app.contract.saliency.rendering import SaliencyMap, draw
from app.contract.saliency.running_moments import RunningMoments
from workers.blackbox import BlackBox, Classifier, Preprocessing
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.explainer.targets import RequestedTargets
from workers.methods import method
from workers.saliency.estimators import Block

Score = Callable[[Tensor], Tensor]


def classifier(score: Score, *, size: tuple[int, int] | None = None) -> Classifier:
    """Return a black box with one class whose probability is `score` of pictures `[B, 3, H, W]` -> `[B]`."""
    return Classifier(
        forward=lambda images: score(images).unsqueeze(1),
        labels=("it",),
        preprocessing=Preprocessing(size=size),
        activation="probabilities",
    )


def brightness_of(rows: slice, columns: slice) -> Score:
    """Return a score that sees one patch only."""
    return lambda images: images[:, :, rows, columns].mean((1, 2, 3))


def white_image(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), "white")


def noise_image(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def study_of(
    black_box: BlackBox,
    image: Image.Image,
    asked: RequestedTargets = None,
    *,
    method_name: str = "rise",
    **parameters: Any,
) -> ExplanationPlan:
    plugin = method(method_name)
    return build_plan(black_box, image, plugin, plugin.Parameters(**parameters), asked)


def effects_of(study: ExplanationPlan) -> list[Block]:
    return list(study.run())


def map_of(study: ExplanationPlan, image: Image.Image, row: int = 0) -> SaliencyMap:
    """Run every block of a study and draw one row at the image's size."""
    return draw_blocks(study, effects_of(study), image, row)


def draw_blocks(study: ExplanationPlan, blocks: list[Block], image: Image.Image, row: int = 0) -> SaliencyMap:
    state = study.state().model_copy(
        update={"scale": study.method.published_scale(study.parameters, study.block_size * len(blocks))}
    )
    arrays: list[NDArray[np.float32]] = [np.stack([block.effects for block in blocks])]
    if state.kind == "moments":
        sums = RunningMoments()
        for block in blocks:
            sums.add(block.effects)
        assert sums.mean is not None
        assert sums.deviation is not None
        arrays = [np.stack([sums.mean, sums.deviation]).astype(np.float32)]
    checkpoint = {"blob": "-", "first": 0, "count": len(blocks)}
    state = type(state).model_validate({**state.model_dump(), "checkpoints": [checkpoint]})
    return draw(state, arrays, row, viewport_of_image(image.width, image.height))
