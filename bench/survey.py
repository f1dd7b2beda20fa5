"""Whether a survey finds the mark that `clever-hans` reads, and nothing about `shapes` on the same pictures.

In this process, without a service: 60 stars of which half carry the mark, and 60 other shapes, over photographs that no
training has seen; 128 masks for each picture.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from app.contract.saliency.geometry import viewport_of_image
from app.contract.saliency.rendering import draw
from app.contract.schemas import TargetSpec
from app.contract.survey import AnnotatedObject, RunLengths, SurveyCase, SurveyReport
from bench.demo_training.pictures import Picture
from bench.rows import Row
from tests.support.annotated_pictures import draw_pictures, run_lengths
from workers.blackbox import Classifier
from workers.demo import clever_hans, shapes
from workers.demo.shape_names import SHAPES
from workers.explainer.plan import build_plan
from workers.explainer.visible_parts import score_parts
from workers.methods import method
from workers.survey.maps import MapFigures, measure_map
from workers.survey.regions import hiding_mask, region_of
from workers.survey.report import CaseMaps, build_report

_STARS, _OTHERS = 60, 60
_MASKS = 128
_SIDE = 192
_MOST_MISSED = _MOST_FALSE = 0.05  # of the seeds


def rows(seeds: int) -> Iterator[Row]:
    """Survey both models over pictures of one seed after another."""
    found = wrong_labels = false = 0
    for seed in range(seeds):
        pictures = draw_pictures(marked=_STARS // 2, unmarked=_STARS // 2, others=_OTHERS, seed=seed)
        biased = survey(clever_hans.load(), pictures)
        found += any(each.suspicious and each.place == "lower left corner" for each in biased.clusters)
        wrong_labels += any(label.suspicious and label.name != "star" for label in biased.labels)
        honest = survey(shapes.load(), pictures)
        false += any(each.suspicious for each in [*honest.labels, *honest.clusters])
    yield found_row("the corner of the mark is suspicious for `star` of `clever-hans`", found, seeds)
    yield false_row("another label of `clever-hans` is", wrong_labels, seeds)
    yield false_row("anything of `shapes` is", false, seeds)


def found_row(what: str, count: int, seeds: int) -> Row:
    """Return on how many seeds a shortcut was found, nearly all of which are wanted."""
    least = seeds - round(_MOST_MISSED * seeds)
    return Row(f"seeds on which {what}", f"{count} of {seeds}", f"at least {least}", count >= least)


def false_row(what: str, count: int, seeds: int, more: str = "") -> Row:
    """Return on how many seeds something else was suspicious, nearly none of which are wanted."""
    most = round(_MOST_FALSE * seeds)
    return Row(f"seeds on which {what}", f"{count} of {seeds}{more}", f"at most {most}", count <= most)


def survey(black_box: Classifier, pictures: list[Picture], *, fill: str = "black") -> SurveyReport:
    """Return the report about a model on drawn pictures of one object each; `fill` hides."""
    cases, maps = zip(*(_measured(black_box, picture, at, fill) for at, picture in enumerate(pictures)), strict=True)
    grids = CaseMaps(np.stack([each.picture for each in maps]), np.stack([each.around for each in maps]))
    return build_report(cases, grids, [], seed=0)


def _measured(black_box: Classifier, picture: Picture, index: int, fill: str) -> tuple[SurveyCase, MapFigures]:
    (drawn,), plugin = picture.objects, method("rise")
    height, width = picture.image.shape[:2]
    x0, y0, x1, y1 = drawn.box_xyxy
    box = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    runs = RunLengths(height=height, width=width, counts=run_lengths(drawn.mask))
    image = Image.fromarray(picture.image)
    parameters = plugin.Parameters.model_validate({"masks": _MASKS, "fill": fill})
    plan = build_plan(black_box, image, plugin, parameters, [TargetSpec(label=drawn.label)])
    effects = np.stack([block.effects for block in plan.run()])
    frame = viewport_of_image(width, height, max_side=_SIDE)
    region = region_of([AnnotatedObject(label=drawn.label, box=box, runs=runs)], frame)
    values = draw(plan.state(), [effects], plan.resolved.target_rows[0], frame).values[0]
    figures = measure_map(values, frame, region, box)
    scores = score_parts(plan, [0], hiding_mask(region)[None], frame)
    (predicted,) = scores.predicted
    case = SurveyCase(
        index=index,
        name=f"{index}.png",
        explanation=str(index),
        target=0,
        label=drawn.label,
        label_name=SHAPES[drawn.label],
        predicted=predicted.name if predicted else None,
        annotated=True,
        recognised=predicted is not None and predicted.label == drawn.label,
        box=box,
        inside=figures.inside,
        area=figures.area,
        hit=figures.hit,
        whole=float(scores.whole[0]),
        objects_alone=float(scores.objects[0]),
        background_alone=float(scores.background[0]),
        nothing=float(scores.nothing[0]),
    )
    return case, figures
