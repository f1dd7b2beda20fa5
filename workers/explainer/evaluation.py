"""Metrics of a finished explanation, on its model, with the protocol beside each number."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from app.contract.errors import RiseError, unknown_choice
from app.contract.saliency.geometry import Array, BlockRenderer, resampled, viewport_of_canvas, viewport_of_image
from app.contract.saliency.rendering import SaliencyMap
from app.contract.schemas import Box, JsonObject, Metric, MetricsRequest, TargetSpec
from workers.blackbox import BlackBox, Classifier
from workers.blackbox.preprocessing import normalise, pixels, to_input
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.fills import fill_names, is_fill, paint
from workers.saliency.metrics import (
    Ask,
    average_drop,
    energy_in,
    perturbation_curve,
    pointing_game_hit_rate,
    rank_pixels,
)

_SANITY_MASKS = 512


def measure(
    black_box: BlackBox, image: Image.Image, study: ExplanationPlan, drawn: SaliencyMap, asked: MetricsRequest
) -> JsonObject:
    """Return each metric's value and protocol.

    Args:
        black_box: the explained model.
        image: upright, RGB.
        study: of the explanation.
        drawn: the target's map at the size of the image, one fill.
        asked: what to measure.

    Raises:
        RiseError: `unknown-name` for a substrate that is no fill, `no-target` where a metric needs a box.
    """
    if not is_fill(asked.substrate):
        raise unknown_choice("/substrate", asked.substrate, [*fill_names(), "#rrggbb"])
    box = asked.box or study.aim.targets[asked.target].box
    results: JsonObject = {}
    for metric in asked.metrics:
        if metric in {"pointing-game", "energy-in-box"}:
            if box is None:
                raise RiseError("no-target", f"{metric} needs a box: this target has none of its own")
            results[metric] = _in_box(metric, drawn, box, asked)
        elif metric == "randomised-model":
            results[metric] = _against_random_weights(black_box, image, study, drawn, asked)
        else:
            results[metric] = _by_asking(metric, black_box, image, study, drawn, asked)
    return results


def _against_random_weights(
    black_box: BlackBox, image: Image.Image, study: ExplanationPlan, drawn: SaliencyMap, asked: MetricsRequest
) -> JsonObject:
    """Return the correlation of the map with that of the same model with random weights: near 0 for an honest map.

    Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.
    """
    if not isinstance(black_box, Classifier) or black_box.randomised is None:
        raise RiseError("no-target", "randomised-model needs a model whose loader can give it random weights")
    other = replace(black_box.randomised(asked.seed), device=black_box.device, dtype=black_box.dtype)
    label = study.aim.targets[asked.target].label
    parameters = study.parameters.model_copy(update={"masks": _SANITY_MASKS, "estimator": "contrast"})
    study = build_plan(other, image, study.method, parameters, [TargetSpec(label=label)], batch=study.scene.batch)
    pen = BlockRenderer(study.scene.canvas, viewport_of_image(image.width, image.height))
    maps = [pen.block(block.effects[study.aim.target_rows], block.index) for block in study.run()]
    value = _correlation(np.mean(maps, axis=0), drawn.values)
    return {"value": value, "protocol": {"masks": _SANITY_MASKS, "seed": asked.seed, "compared": "Pearson correlation"}}


def _correlation(one: Array, other: Array) -> float | None:
    """Return Pearson's correlation of two maps of the same size; None where one of them is flat."""
    if not (np.ptp(one) > 0 and np.ptp(other) > 0):
        return None
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _in_box(metric: Metric, drawn: SaliencyMap, box: Box, asked: MetricsRequest) -> JsonObject:
    saliency = drawn.values[0]
    if metric == "energy-in-box":
        return {"value": energy_in(saliency, box), "protocol": {"box": box, "of": "positive saliency"}}
    value = pointing_game_hit_rate(saliency, box, tolerance=asked.tolerance)
    return {"value": value, "protocol": {"box": box, "tolerance": asked.tolerance, "ties": "share of maxima inside"}}


def _by_asking(
    metric: Metric,
    black_box: BlackBox,
    image: Image.Image,
    study: ExplanationPlan,
    drawn: SaliencyMap,
    asked: MetricsRequest,
) -> JsonObject:
    scene = study.scene
    canvas = viewport_of_canvas(scene.canvas, max_side=scene.canvas.height + scene.canvas.width)
    saliency = resampled(drawn.values, viewport_of_image(image.width, image.height), canvas)[0]
    fill = _substrate(black_box, image, study, asked)
    row = study.aim.target_rows[asked.target]
    ask: Ask = lambda pictures: scene.score(pictures)[:, row]  # noqa: E731 - a name for its type
    protocol: JsonObject = {"substrate": asked.substrate, "pixels": [canvas.width, canvas.height], "seed": asked.seed}
    if metric == "average-drop":
        value = average_drop(ask, scene.image, fill, torch.from_numpy(saliency).to(scene.image))
        return {"value": value, "protocol": {**protocol, "weight": "positive saliency over its maximum"}}
    start, end = (scene.image, fill) if metric == "deletion" else (fill, scene.image)
    order = rank_pixels(saliency.astype(np.float32), seed=asked.seed)
    curve = perturbation_curve(ask, start, end, order, steps=asked.steps, batch=scene.batch)
    protocol |= {"steps": asked.steps, "normalised": False, "ties": "seeded noise"}
    return {"value": curve.area, "curve": {"shares": curve.shares, "scores": curve.scores}, "protocol": protocol}


def _substrate(black_box: BlackBox, image: Image.Image, study: ExplanationPlan, asked: MetricsRequest) -> torch.Tensor:
    """Return the substrate as the loop shows pictures: normalised where masks are on the model's input."""
    picture = pixels(image).to(black_box.device)
    on_model = study.parameters.canvas == "model"
    seen = to_input(picture[None], black_box.preprocessing)[0] if on_model else picture
    fill = paint(asked.substrate, seen, model_mean=black_box.preprocessing.mean_color, seed=asked.seed)
    return (normalise(fill, black_box.preprocessing) if on_model else fill).to(study.scene.image.dtype)
