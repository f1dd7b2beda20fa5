"""How many masks a map needs: contrast against what others compute from independent masks, on the models that ship.

From the same independent masks and scores come three maps: as published (`sum(y m)`), debiased as xaitk-saliency does
(`sum(y (m - p))`), and centred per pixel (`cov(y, m) / var(m)`). Each is compared with a long contrast run with another
seed; what counts is the number of masks from which the correlation stays at 0.95.
"""

import statistics
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from app.contract.geometry import Frame, Pen
from app.contract.moments import Moments
from bench.rows import Row
from workers.blackbox import BlackBox
from workers.demo import shapes, shapes_detector
from workers.demo.batches import Recipe, draw_held_out_pictures
from workers.demo.pictures import draw_one_object, draw_several_objects
from workers.methods import method
from workers.saliency.designs import sample_independently
from workers.saliency.loop import weights_of_each
from workers.saliency.masks import blend, indicators, render
from workers.study import Study, prepare

ENOUGH = 0.95
CHUNK = 64
Map = NDArray[np.float64]


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        images: pictures.
        reference: masks of the converged map.
        most: independent masks at most; a map that needs more counts as needing this many.
    """

    images: int
    reference: int
    most: int


def contrast_maps(study: Study) -> list[tuple[int, Map]]:
    """Return the running contrast map of the first target after every block, with the masks used."""
    canvas, moments, found = study.scene.canvas, Moments(), []
    pen, row = Pen(canvas, Frame(canvas.height, canvas.width, canvas.view)), study.aim.target_rows[0]
    for block in study.run():
        moments.add(pen.block(block.effects[row : row + 1, 0], block.index))
        assert moments.mean is not None
        found.append((moments.count * study.block_size, moments.mean[0].copy()))
    return found


def independent_maps(study: Study, most: int) -> dict[str, list[tuple[int, Map]]]:
    """Return the running maps of the other estimators, every chunk of masks."""
    scene, row, keep = study.scene, study.aim.target_rows[0], study.parameters.keep
    room = scene.image.new_empty((CHUNK, *scene.image.shape))
    sums = dict.fromkeys(("y", "m", "ym", "mm"), 0.0)
    found: dict[str, list[tuple[int, Map]]] = {"published": [], "debiased": [], "centred": []}
    for chunk in range(most // CHUNK):
        with torch.inference_mode():
            states, uniform = sample_independently(study.design, 10_000_000 + chunk, CHUNK)
            hidden = render(indicators(torch.from_numpy(states), 1), *weights_of_each(scene, uniform))
            scores = scene.score(blend(scene.image, scene.fills - scene.image, hidden, out=room))[:, row]
        kept, y = 1 - hidden[0].double().numpy(), scores.double().numpy()
        sums["y"] += y.sum()
        sums["m"] = sums["m"] + kept.sum(0)
        sums["ym"] = sums["ym"] + np.tensordot(y, kept, 1)
        sums["mm"] = sums["mm"] + (kept**2).sum(0)
        count = (chunk + 1) * CHUNK
        means = {name: np.asarray(value) / count for name, value in sums.items()}
        variance = np.maximum(means["mm"] - means["m"] ** 2, 1e-9)
        found["published"].append((count, means["ym"]))
        found["debiased"].append((count, means["ym"] - keep * means["y"]))
        found["centred"].append((count, (means["ym"] - means["m"] * means["y"]) / variance))
    return found


def masks_needed(maps: list[tuple[int, Map]], truth: Map, most: int) -> int:
    """Return from how many masks on the correlation with the truth stays at 0.95."""
    needed = most
    for count, shown in reversed(maps):
        if np.corrcoef(shown.ravel(), truth.ravel())[0, 1] < ENOUGH:
            break
        needed = count
    return needed


def needs(black_box: BlackBox, name: str, pictures: list[Image.Image], effort: Effort) -> list[dict[str, int]]:
    """Return for each picture the masks that each estimator needs."""
    plugin, found = method(name), []
    for picture in pictures:
        study = prepare(black_box, picture, plugin, plugin.Parameters(masks=effort.most, until=1), "top:1", batch=CHUNK)
        other = plugin.Parameters(masks=effort.reference, until=1, seed=999, keep=study.parameters.keep)
        truth = contrast_maps(prepare(black_box, picture, plugin, other, "top:1", batch=CHUNK))[-1][1]
        short = replace(study, blocks=min(study.blocks, max(4, 8192 // study.block_size)))
        needed = {"contrast": masks_needed(contrast_maps(short), truth, effort.most)}
        for estimator, maps in independent_maps(study, effort.most).items():
            needed[estimator] = masks_needed(maps, truth, effort.most)
        found.append(needed)
    return found


def rows(effort: Effort) -> list[Row]:
    """Return masks needed by each estimator over those that contrast needs, for RISE and D-RISE."""
    one = draw_held_out_pictures(Recipe(draw_one_object, side=96), effort.images, seed=77)
    several = draw_held_out_pictures(Recipe(draw_several_objects, side=128), effort.images, seed=77)
    found = []
    for label, black_box, name, pictures in (
        ("RISE on shapes", shapes.load(), "rise", one),
        ("D-RISE on shapes-detector", shapes_detector.load(), "drise", several),
    ):
        needed = needs(black_box, name, [Image.fromarray(picture.image) for picture in pictures], effort)
        own = statistics.median(one["contrast"] for one in needed)
        what = f"{label}: masks for a correlation of 0.95 with a {effort.reference:,}-mask map, contrast"
        found.append(Row(what, f"{own:.0f} (median of {effort.images} pictures)"))
        for estimator, target in (("published", 16), ("debiased", 0), ("centred", 2)):
            ratios = [one[estimator] / one["contrast"] for one in needed]
            ratio, capped = statistics.median(ratios), any(one[estimator] >= effort.most for one in needed)
            value = f"{ratio:.1f} times as many{f' (some need more than the {effort.most:,} tried)' if capped else ''}"
            met = ratio >= target if target else None
            found.append(Row(f"{label}: {estimator} / contrast", value, f">= {target}" if target else "", met))
    return found
