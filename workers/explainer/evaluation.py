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
    TargetScore,
    average_drop,
    energy_in,
    perturbation_curve,
    pointing_game_hit_rate,
    rank_pixels,
)

_SANITY_MASKS = 512


def measure(
    black_box: BlackBox, image: Image.Image, plan: ExplanationPlan, saliency_map: SaliencyMap, request: MetricsRequest
) -> JsonObject:
    """Return each metric's value and protocol.

    Args:
        black_box: the explained model.
        image: upright, RGB.
        plan: of the explanation.
        saliency_map: the target's map at the size of the image, one fill.
        request: what to measure.

    Raises:
        RiseError: `unknown-name` for a substrate that is no fill, `no-target` where a metric needs a box.
    """
    if not is_fill(request.substrate):
        raise unknown_choice("/substrate", request.substrate, [*fill_names(), "#rrggbb"])
    box = request.box or plan.resolved.targets[request.target].box
    results: JsonObject = {}
    for metric in request.metrics:
        if metric in {"pointing-game", "energy-in-box"}:
            if box is None:
                raise RiseError("no-target", f"{metric} needs a box: this target has none of its own")
            results[metric] = _in_box(metric, saliency_map, box, request)
        elif metric == "randomised-model":
            results[metric] = _against_random_weights(black_box, image, plan, saliency_map, request)
        else:
            results[metric] = _perturbation_metric(metric, black_box, image, plan, saliency_map, request)
    return results


def _against_random_weights(
    black_box: BlackBox, image: Image.Image, plan: ExplanationPlan, saliency_map: SaliencyMap, request: MetricsRequest
) -> JsonObject:
    """Return the correlation of the map with that of the same model with random weights: near 0 for an honest map.

    Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.
    """
    if not isinstance(black_box, Classifier) or black_box.randomised is None:
        raise RiseError("no-target", "randomised-model needs a model whose loader can give it random weights")
    other = replace(black_box.randomised(request.seed), device=black_box.device, dtype=black_box.dtype)
    label = plan.resolved.targets[request.target].label
    parameters = plan.parameters.model_copy(update={"masks": _SANITY_MASKS, "estimator": "contrast"})
    plan = build_plan(other, image, plan.method, parameters, [TargetSpec(label=label)], batch=plan.problem.batch)
    renderer = BlockRenderer(plan.problem.canvas, viewport_of_image(image.width, image.height))
    maps = [renderer.block(block.effects[plan.resolved.target_rows], block.index) for block in plan.run()]
    value = _correlation(np.mean(maps, axis=0), saliency_map.values)
    return {
        "value": value,
        "protocol": {"masks": _SANITY_MASKS, "seed": request.seed, "compared": "Pearson correlation"},
    }


def _correlation(one: Array, other: Array) -> float | None:
    """Return Pearson's correlation of two maps of the same size; None where one of them is flat."""
    if not (np.ptp(one) > 0 and np.ptp(other) > 0):
        return None
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _in_box(metric: Metric, saliency_map: SaliencyMap, box: Box, request: MetricsRequest) -> JsonObject:
    saliency = saliency_map.values[0]
    if metric == "energy-in-box":
        return {"value": energy_in(saliency, box), "protocol": {"box": box, "of": "positive saliency"}}
    value = pointing_game_hit_rate(saliency, box, tolerance=request.tolerance)
    return {"value": value, "protocol": {"box": box, "tolerance": request.tolerance, "ties": "share of maxima inside"}}


def _perturbation_metric(
    metric: Metric,
    black_box: BlackBox,
    image: Image.Image,
    plan: ExplanationPlan,
    saliency_map: SaliencyMap,
    request: MetricsRequest,
) -> JsonObject:
    problem = plan.problem
    canvas = viewport_of_canvas(problem.canvas, max_side=problem.canvas.height + problem.canvas.width)
    saliency = resampled(saliency_map.values, viewport_of_image(image.width, image.height), canvas)[0]
    fill = _substrate(black_box, image, plan, request)
    row = plan.resolved.target_rows[request.target]
    score_target: TargetScore = lambda pictures: problem.score(pictures)[:, row]  # noqa: E731 - a name for its type
    protocol: JsonObject = {
        "substrate": request.substrate,
        "pixels": [canvas.width, canvas.height],
        "seed": request.seed,
    }
    if metric == "average-drop":
        value = average_drop(score_target, problem.image, fill, torch.from_numpy(saliency).to(problem.image))
        return {"value": value, "protocol": {**protocol, "weight": "positive saliency over its maximum"}}
    start, end = (problem.image, fill) if metric == "deletion" else (fill, problem.image)
    order = rank_pixels(saliency.astype(np.float32), seed=request.seed)
    curve = perturbation_curve(score_target, start, end, order, steps=request.steps, batch=problem.batch)
    protocol |= {"steps": request.steps, "normalised": False, "ties": "seeded noise"}
    return {"value": curve.area, "curve": {"shares": curve.shares, "scores": curve.scores}, "protocol": protocol}


def _substrate(black_box: BlackBox, image: Image.Image, plan: ExplanationPlan, request: MetricsRequest) -> torch.Tensor:
    """Return the substrate as the loop blends images: normalised where masks are on the model's input."""
    picture = pixels(image).to(black_box.device)
    on_model = plan.parameters.canvas == "model"
    on_canvas = to_input(picture[None], black_box.preprocessing)[0] if on_model else picture
    fill = paint(request.substrate, on_canvas, model_mean=black_box.preprocessing.mean_color, seed=request.seed)
    return (normalise(fill, black_box.preprocessing) if on_model else fill).to(plan.problem.image.dtype)
