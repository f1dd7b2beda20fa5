"""The loop beside the model: explaining must cost what the model's own forward passes cost."""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image

from bench.networks import classifier, null_classifier, one_stage_detector, residual_network
from bench.rows import Row
from bench.stopwatch import median_ratio, seconds_of
from workers.blackbox import BlackBox
from workers.blackbox.batch_size import autotune_batch_size
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import method

_CPU_MASKS = 512  # a block; ten of them take minutes a round on a CPU


def photograph(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def study_of(
    black_box: BlackBox, name: str, batch: int, asked: str | None = None, **parameters: object
) -> ExplanationPlan:
    plugin = method(name)
    height, width = black_box.preprocessing.size or (224, 224)
    chosen = plugin.Parameters(until=1, **parameters)
    return build_plan(black_box, photograph(width, height), plugin, chosen, asked, batch=batch)


def masks_of(study: ExplanationPlan) -> int:
    return study.blocks * study.block_size


def batch_of(study: ExplanationPlan) -> int:
    """Return how many pictures the model gets at once: no more than a block has."""
    return min(study.problem.batch, study.block_size)


def explain(study: ExplanationPlan) -> None:
    for _ in study.run():
        pass


def forward(study: ExplanationPlan, black_box: BlackBox) -> None:
    """Ask the model about as many pictures as the study masks, at the same batch size, and nothing else."""
    batch = study.problem.image.expand(batch_of(study), -1, -1, -1).contiguous()
    if study.problem.image.is_contiguous(memory_format=torch.contiguous_format) and batch.dim() == 4:
        batch = batch.to(memory_format=torch.channels_last)
    left = masks_of(study)
    with torch.inference_mode():
        while left > 0:
            black_box.forward(batch[:left])
            left -= len(batch)


def ratio_row(what: str, study: ExplanationPlan, black_box: BlackBox, target: float, rounds: int) -> Row:
    things = {"explain": partial(explain, study), "forward": partial(forward, study, black_box)}
    return forward_row(what, study, seconds_of(things, rounds=rounds), target)


def forward_row(what: str, study: ExplanationPlan, measured: dict[str, list[float]], target: float) -> Row:
    """Return the ratio of `explain` and `forward` of what was measured."""
    ratio, masks = median_ratio(measured, "explain", "forward"), masks_of(study)
    per_mask, rounds = statistics.median(measured["forward"]) / masks * 1000, len(measured["forward"])
    value = f"{ratio:.3f} ({per_mask:.2f} ms forward, {masks:,} masks, batch {batch_of(study)}, {rounds} rounds)"
    return Row(what, value, f"<= {target}", ratio <= target)


def rows(device: torch.device, rounds: int) -> Iterator[Row]:
    """Yield explain over forward for classifiers and detectors."""
    gpu = device.type == "cuda"
    dtype, target = (torch.bfloat16, 1.05) if gpu else (torch.float32, 1.03)
    size = "ResNet-50, bfloat16" if gpu else "ResNet-18, float32"
    depths = (3, 4, 6, 3) if gpu else (2, 2, 2, 2)
    model = classifier(residual_network(depths, bottleneck=gpu), device=device, dtype=dtype)
    batch = autotune_batch_size(model)
    masks = 4000 if gpu else 256
    for asked, words in (("top:5", "5 targets"), ("top:999", "999 targets and the effects of all 1,000 classes")):
        study = study_of(model, "rise", batch, asked, masks=masks, grid=8)
        yield ratio_row(f"RISE: explain / forward, {size}, 224 x 224, {words}", study, model, target, rounds)
    yield from detector_rows(device, dtype, rounds)


def detector_rows(device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Row]:
    """Yield D-RISE at 16 x 16 cells: explain over forward, and twenty targets over one."""
    detector = one_stage_detector(device=device, dtype=dtype)
    batch = autotune_batch_size(detector)
    masks = _CPU_MASKS if device.type == "cpu" else 5000
    options = {"masks": masks, "grid": 16, "threshold": 0.0, "max_targets": 20, "rescue": False}
    twenty = study_of(detector, "drise", batch, "top:20", **options)
    one = study_of(detector, "drise", batch, "top:1", **options)
    measured = seconds_of(
        {
            "explain": partial(explain, twenty),
            "one": partial(explain, one),
            "forward": partial(forward, twenty, detector),
        },
        rounds=rounds,
        warm_up=[partial(explain, replace(study, blocks=1)) for study in (twenty, one)],
    )
    what = "D-RISE: explain / forward, 16 x 16 cells, 20 targets, one-stage detector on a ResNet-18, 224 x 224, "
    yield forward_row(what + "300 proposals, 80 classes", twenty, measured, 1.05)
    ratio = median_ratio(measured, "explain", "one")
    value = f"{ratio:.3f} ({masks_of(one):,} masks, {rounds} rounds)"
    yield Row("D-RISE: 20 targets / 1 target", value, "<= 1.05", ratio <= 1.05)


def null_study(masks: int) -> ExplanationPlan:
    """Return an explanation of the model that does nothing, 7 x 7 cells."""
    return study_of(null_classifier(), "rise", 16, "top:10", masks=masks, grid=7)
