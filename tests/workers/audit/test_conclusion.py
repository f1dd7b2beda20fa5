"""Audits of models of known behaviour."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from app.contract.errors import RiseError
from app.contract.schemas import AuditCheck, AuditResult
from tests.support.black_boxes import brightness_of, classifier, noise_image, study_of, white_image
from workers.audit.conclusion import conclude
from workers.audit.plan import AuditPlan, audit_plan
from workers.audit.sentences import JUMP
from workers.audit.white_box import grad_cam_of
from workers.blackbox import BlackBox, Classifier, Detections, Detector, Preprocessing
from workers.blackbox.preprocessing import pixels

PATCH = brightness_of(slice(8, 16), slice(8, 16))


def planned(black_box: BlackBox, image: Image.Image, *asked: Any, **parameters: Any) -> AuditPlan:
    return audit_plan(study_of(black_box, image, *asked, **parameters), black_box, image)


def audited(black_box: BlackBox, image: Image.Image, *asked: Any, **parameters: Any) -> AuditResult:
    plan = planned(black_box, image, *asked, **parameters)
    return conclude(plan, {name: list(view.run()) for name, view in plan.views.items()}, grad_cam_of(plan))


def checks_of(result: AuditResult) -> Mapping[str, AuditCheck]:
    return {check.check: check for check in result.checks}


def a_photograph(side: int = 48) -> Image.Image:
    """Return a picture that is smooth and neither black, grey nor flat anywhere."""
    y, x = np.mgrid[0:side, 0:side] / side
    channels = [0.55 + 0.3 * np.sin(5 * x + 2 * y), 0.5 + 0.3 * np.cos(4 * y), 0.6 + 0.25 * np.sin(3 * x * y + 1)]
    return Image.fromarray((np.stack(channels, -1) * 255).astype(np.uint8))


def stripes(side: int = 48) -> Image.Image:
    """Return a picture of which ripples move every patch."""
    values = np.where(np.arange(side) % 16 < 8, 60, 230).astype(np.uint8)
    return Image.fromarray(np.tile(values[:, None, None], (1, side, 3)))


def switching(is_masked: Callable[[Tensor], Tensor]) -> Classifier:
    """Return a model that reads a patch, and another patch where it sees a mask."""
    decoy = brightness_of(slice(32, 40), slice(32, 40))
    return classifier(lambda images: torch.where(is_masked(images), decoy(images) * 0.1, PATCH(images)))


def recognising_a_patch_of(image: Image.Image) -> Classifier:
    """Return a model that sees, smoothly, how many pixels of a patch are as in an image; any fill is as good."""
    there = pixels(image)[:, 16:32, 16:32]
    return classifier(lambda images: (-((images[:, :, 16:32, 16:32] - there) ** 2) / 0.02).exp().mean((1, 2, 3)))


def test_of_a_smooth_model_that_adds_up_nothing_is_found() -> None:
    result = audited(recognising_a_patch_of(noise_image(48, 48)), noise_image(48, 48))
    checks = checks_of(result)
    assert result.verdict == "nothing-found"
    assert list(checks) == [
        "fill-dependence",
        "low-opacity",
        "resolution",
        "class-specificity",
        "white-box",
        "discontinuity",
        "consistency",
    ]
    assert checks["discontinuity"].value is not None
    assert checks["discontinuity"].value < 0.01
    assert checks["consistency"].value == pytest.approx(0, abs=1e-5)
    assert "smoothly" in result.limits


def test_an_audit_asks_no_more_than_it_says_beforehand() -> None:
    for black_box in (classifier(PATCH), switching(lambda images: (images.amax(1) == 0).any(-1).any(-1))):
        plan = planned(black_box, a_photograph(), grid=8)
        blocks = {name: list(view.run()) for name, view in plan.views.items()}
        asked: list[int] = []
        result = conclude(plan, blocks, grad_cam_of(plan), asked=asked.append)
        computed = sum(block.masks for name, of_view in blocks.items() if name != plan.own for block in of_view)
        assert computed + result.passes <= plan.passes({plan.own: 2}) <= 1200
        assert asked == sorted(asked)
        assert asked[-1] == result.passes
    assert plan.passes({}) == plan.passes({plan.own: 2}) + 256
    assert plan.passes({plan.own: 30, "grey": 1}) == plan.passes({plan.own: 2}) - 128


def test_a_hard_gate_on_masks_is_an_alarm() -> None:
    result = audited(switching(lambda images: (images.amax(1) < 0.02).any(-1).any(-1)), a_photograph())
    check = checks_of(result)["discontinuity"]
    assert result.verdict == check.verdict == "alarm"
    assert check.value is not None
    assert check.value > 1
    assert check.details["natural"] is not None
    assert "reacts to the mask itself" in check.sentence


def test_a_smooth_gate_on_masks_is_not_found_as_the_limits_say() -> None:
    def smooth(images: Tensor) -> Tensor:
        weight = (4 * (0.3 - images.mean((1, 2, 3)))).sigmoid()
        return weight * brightness_of(slice(32, 40), slice(32, 40))(images) + (1 - weight) * PATCH(images)

    assert checks_of(audited(classifier(smooth), a_photograph()))["discontinuity"].verdict == "nothing-found"


def rounding() -> Classifier:
    """Return a model that reads a patch and rounds the logarithm of what it sees."""
    return classifier(lambda images: ((PATCH(images) + 1e-3).log() * 2).round().div(2).exp())


def test_a_model_that_jumps_on_natural_changes_too_is_told_apart() -> None:
    result = audited(rounding(), stripes())
    check = checks_of(result)["discontinuity"]
    assert check.verdict == result.verdict == "caution"
    assert "discontinuous by nature" in check.sentence
    assert checks_of(result)["consistency"].verdict == "nothing-found"


def test_a_gate_on_masks_that_one_natural_change_in_five_crosses_is_an_alarm_all_the_same() -> None:
    """The gate opens where the whole image is brighter, as in the last natural change, and where a pixel is black."""
    brightness = float(pixels(stripes()).mean())

    def is_changed(images: Tensor) -> Tensor:
        return (images.mean((1, 2, 3)) > brightness + 0.1) | (images.amax(1) < 0.02).any(-1).any(-1)

    check = checks_of(audited(switching(is_changed), stripes()))["discontinuity"]
    assert sum(jump > JUMP for jump in check.details["natural"]) == 1
    assert sum(jump > JUMP for jump in check.details["masked"]) == 6
    assert check.verdict == "alarm"
    assert "as 6 of 6 masks fade in" in check.sentence
    assert "in 1 of 5 natural changes" in check.sentence


def test_jumps_are_no_alarm_where_natural_changes_do_not_move_the_score() -> None:
    """The score is higher where many pixels are grey, and no pixel of the image is."""

    def score(images: Tensor) -> Tensor:
        grey = ((images - 0.5).abs().amax(1) < 0.02).float().mean((1, 2))
        return 0.2 + 0.5 * (grey > 0.05).float()

    box = classifier(score)
    check = checks_of(audited(box, white_image(48, 48), fill="grey"))["discontinuity"]
    assert check.verdict == "caution"
    assert "no natural change of this image moves it" in check.sentence


def test_a_jump_of_a_class_that_is_not_explained_counts() -> None:
    """The gate leaves the explained class as it is and exchanges two others."""

    def scores(images: Tensor) -> Tensor:
        is_masked = (images.amax(1) < 0.02).any(-1).any(-1)
        others = torch.where(is_masked[:, None], torch.tensor([0.1, 0.2]), torch.tensor([0.2, 0.1]))
        return torch.cat([0.4 + 0.2 * PATCH(images)[:, None], others], 1)

    box = Classifier(scores, ("it", "one", "other"), Preprocessing(size=None), activation="probabilities")
    check = checks_of(audited(box, a_photograph()))["discontinuity"]
    assert check.value is not None
    assert check.value > 0.5
    assert check.details["targets"][0]["value"] < 0.01


class RemembersNearCopies:
    """Answers otherwise once it has seen many pictures that are nearly this one, but as before to an exact copy."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.first: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        answers = []
        for image in images:
            self.first = image.clone() if self.first is None else self.first
            is_explained = len(self.seen) > 20 and not torch.equal(image, self.first)
            self.seen.append(image)
            answers.append(PATCH(image[None])[0] * (0.5 if is_explained else 1.0))
        return torch.stack(answers)


def test_a_model_with_a_memory_of_near_copies_is_an_alarm() -> None:
    result = audited(classifier(RemembersNearCopies()), a_photograph())
    check = checks_of(result)["consistency"]
    assert check.verdict == "alarm"
    assert check.details["one_pixel_changed"] > 0.1


def test_what_the_explanation_found_before_counts_too() -> None:
    plan = planned(classifier(PATCH), a_photograph())
    blocks = {name: list(view.run()) for name, view in plan.views.items()}
    result = conclude(plan, blocks, grad_cam_of(plan), earlier_consistency=0.2)
    assert result.verdict == "alarm"
    assert checks_of(result)["consistency"].value == pytest.approx(0.2)


def test_a_model_that_reads_the_colour_of_the_fill_depends_on_the_fill() -> None:
    """It sees how dark the upper left is, and how uneven the lower right: what hides decides which of them matters."""

    def score(images: Tensor) -> Tensor:
        dark = 1 - images[:, :, :24, :24].mean((1, 2, 3))
        uneven = images[:, :, 24:, 24:].std((2, 3)).mean(1)
        return (dark + 3 * uneven).clamp(0, 2) / 2

    check = checks_of(audited(classifier(score), white_image(48, 48)))["fill-dependence"]
    assert check.verdict == "caution"
    assert check.value is not None
    assert check.value > 0.4
    assert len(check.details["targets"][0]["pairs"]) == 6


def test_a_model_that_recognises_a_patch_hardly_depends_on_the_fill() -> None:
    check = checks_of(audited(recognising_a_patch_of(noise_image(48, 48)), noise_image(48, 48)))["fill-dependence"]
    assert check.verdict == "nothing-found"
    assert check.value is not None
    assert check.value < 0.1
    assert all(pair["correlation"] > 0.9 for pair in check.details["targets"][0]["pairs"])


def test_masks_of_half_the_cell_are_predicted_exactly_where_the_model_adds_up_over_cells() -> None:
    image = white_image(48, 48)
    blank = study_of(classifier(PATCH), image)
    vertical, horizontal = blank.problem.canvas.axes
    dy, dx = blank.problem.canvas.shift(0)
    cells = torch.rand(8, 8, generator=torch.Generator().manual_seed(1))
    weights = torch.from_numpy(vertical.rows(dy)) @ cells @ torch.from_numpy(horizontal.rows(dx)).T
    weights = weights / weights.sum()
    check = checks_of(audited(classifier(lambda images: (images.mean(1) * weights).sum((1, 2))), image))["resolution"]
    assert check.value == pytest.approx(1, abs=0.02)
    assert "small enough" in check.sentence


def test_masks_of_half_the_cell_show_a_model_that_sees_single_pixels() -> None:
    """A quarter of a cell counts for, the next one against: nothing of that is in a map of whole cells."""
    stripes = torch.ones(48)
    stripes[::2] = -1
    box = classifier(lambda images: 0.5 + 0.5 * (images.mean(1)[:, 20:24, 20:23] * stripes[20:23]).mean((1, 2)))
    check = checks_of(audited(box, white_image(48, 48)))["resolution"]
    assert check.verdict == "nothing-found"
    assert check.value is None or check.value < 0.9


def test_where_finer_masks_change_nothing_nothing_is_said_about_the_grid() -> None:
    check = checks_of(audited(classifier(lambda images: images.mean((1, 2, 3)) * 0 + 0.5), a_photograph()))[
        "resolution"
    ]
    assert check.value is None
    assert "say nothing about the grid" in check.sentence


def of_classes(*scores: Callable[[Tensor], Tensor]) -> Classifier:
    """Return a model whose classes, 0, 1, ... have these probabilities."""
    return Classifier(
        forward=lambda images: torch.stack([score(images) for score in scores], 1),
        labels=tuple(map(str, range(len(scores)))),
        preprocessing=Preprocessing(size=None),
        activation="probabilities",
    )


def specificity(box: BlackBox, *asked: Any, **parameters: Any) -> AuditCheck:
    return checks_of(audited(box, white_image(48, 48), *asked, **parameters))["class-specificity"]


def test_a_map_is_compared_with_those_of_all_likely_classes() -> None:
    """Of a linear model all is known: two patches far apart have maps that hardly overlap, of the same power."""
    elsewhere = brightness_of(slice(32, 40), slice(32, 40))
    box = of_classes(
        lambda images: 0.9 * PATCH(images),
        lambda images: 0.5 * elsewhere(images),
        lambda images: 0.3 * PATCH(images) + 0.3 * elsewhere(images),
    )
    check = specificity(box)
    assert check.details["targets"][0]["class"]["name"] == "2"
    assert check.details["targets"][0]["class"]["probability"] == pytest.approx(0.6, abs=1e-4)
    assert check.value == pytest.approx(0.5**0.5, abs=0.1)
    assert specificity(of_classes(PATCH, elsewhere)).value == pytest.approx(0, abs=0.15)


def test_a_map_that_another_likely_class_has_too_is_not_of_its_class_alone() -> None:
    box = of_classes(lambda images: 0.6 * PATCH(images), lambda images: 0.4 * PATCH(images))
    check = specificity(box, "top:2")
    assert check.value == pytest.approx(1, abs=1e-4)
    assert check.verdict == "nothing-found"
    told = [target["sentence"] for target in check.details["targets"]]
    assert "not that of '0' alone: that of '1' (0.4)" in told[0]
    assert "not that of '1' alone: that of '0' (0.6)" in told[1]


def test_an_unlikely_class_with_the_same_map_says_nothing() -> None:
    elsewhere = brightness_of(slice(32, 40), slice(32, 40))
    others = [lambda images, share=share: share * elsewhere(images) for share in (0.5, 0.4, 0.3, 0.2)]
    check = specificity(of_classes(PATCH, *others, lambda images: 0.1 * PATCH(images)))
    assert check.value is not None
    assert check.value < 0.5


def test_where_no_other_class_is_likely_there_is_no_map_to_compare_with() -> None:
    flat = of_classes(PATCH, lambda images: 0 * PATCH(images) + 0.1)
    unlikely = of_classes(PATCH, lambda images: 0.009 * PATCH(images))
    for check in (specificity(classifier(PATCH)), specificity(flat), specificity(unlikely)):
        assert (check.value, check.verdict) == (None, "nothing-found")
        assert "No other class is likely" in check.sentence


def test_masks_that_hide_little_show_what_a_gate_on_masks_hides() -> None:
    """The gate needs pixels that are nearly black; a mask of 30 % opacity with the blurred image has none."""
    box = switching(lambda images: (images.amax(1) < 0.02).any(-1).any(-1))
    check = checks_of(audited(box, a_photograph()))["low-opacity"]
    x, y = check.details["targets"][0]["peak"]
    assert check.verdict == "nothing-found"
    assert 2 <= x <= 22
    assert 2 <= y <= 22


def test_the_worst_of_several_targets_decides_and_details_tell_each() -> None:
    gate = switching(lambda images: (images.amax(1) < 0.02).any(-1).any(-1))
    box = Classifier(
        forward=lambda images: torch.stack([PATCH(images), gate.forward(images)[:, 0]], 1),
        labels=("honest", "not"),
        preprocessing=Preprocessing(size=None),
        activation="probabilities",
    )
    result = audited(box, a_photograph(), "top:2")
    check = checks_of(result)["discontinuity"]
    assert check.verdict == "alarm"
    by_label = dict(zip(("honest", "not"), check.details["targets"], strict=True))
    assert by_label["honest"]["value"] < JUMP < by_label["not"]["value"]
    assert [len(checks_of(result)[name].details["targets"]) for name in ("fill-dependence", "resolution")] == [2, 2]


def test_a_detector_is_audited_by_its_match() -> None:
    def forward(images: Tensor) -> Detections:
        boxes = torch.tensor([[8.0, 8.0, 16.0, 16.0]]).expand(len(images), 1, 4)
        return Detections(boxes, torch.ones(len(images), 1, 1), PATCH(images)[:, None])

    box = Detector(forward=forward, labels=("it",), preprocessing=Preprocessing(size=None))
    plan = planned(box, white_image(48, 48), method_name="drise", grid=6)
    assert plan.passes({plan.own: 2}) == 7 * 72 + 299
    checks = checks_of(audited(box, white_image(48, 48), method_name="drise", grid=6))
    assert {checks[name].verdict for name in ("discontinuity", "consistency")} == {"nothing-found"}


@pytest.mark.parametrize(("threshold", "verdict"), [(0.0, "alarm"), (0.3, "caution")])
def test_a_jump_of_a_detector_that_leaves_out_what_it_is_unsure_of_is_no_alarm(threshold: float, verdict: str) -> None:
    """It turns away from what it sees where a pixel is black; it has a box that it is hardly sure of, too."""

    def forward(images: Tensor) -> Detections:
        opens = (images.amax(1) < 0.02).any(-1).any(-1).float()
        sure = PATCH(images) * (1 - 0.8 * opens)
        confidence = torch.stack([sure, torch.full((len(images),), 0.01)], 1)
        boxes = torch.tensor([[4.0, 4, 30, 30], [8, 8, 40, 40]]).expand(len(images), 2, 4)
        return Detections(boxes, torch.ones(len(images), 2, 1), confidence * (confidence >= threshold))

    box = Detector(forward=forward, labels=("it",), preprocessing=Preprocessing(size=None))
    plan = planned(box, a_photograph(), method_name="drise", grid=6)
    result = audited(box, a_photograph(), method_name="drise", grid=6)
    check = checks_of(result)["discontinuity"]
    assert check.verdict == verdict
    assert ("proposes nothing of which it is less sure than" in check.sentence) == (verdict == "caution")
    assert result.passes <= plan.passes({plan.own: 2})


def test_detections_are_no_classes_to_compare() -> None:
    def forward(images: Tensor) -> Detections:
        boxes = torch.tensor([[8.0, 8.0, 16.0, 16.0], [32.0, 32.0, 40.0, 40.0]]).expand(len(images), 2, 4)
        return Detections(boxes, torch.ones(len(images), 2, 1), PATCH(images)[:, None].expand(-1, 2))

    box = Detector(forward=forward, labels=("it",), preprocessing=Preprocessing(size=None))
    check = checks_of(audited(box, white_image(48, 48), method_name="drise", grid=6))["class-specificity"]
    assert [target["class"] for target in check.details["targets"]] == [None, None]


def test_the_same_audit_comes_out_again() -> None:
    assert audited(classifier(PATCH), noise_image(48, 48)) == audited(classifier(PATCH), noise_image(48, 48))


@pytest.mark.parametrize(
    ("own", "others"),
    [
        ("black", ["grey", "blur", "noise"]),
        ("blur", ["black", "grey", "noise"]),
        ("#00ff00", ["black", "grey", "blur"]),
    ],
)
def test_views_are_the_own_fill_three_others_and_masks_that_hide_little(own: str, others: list[str]) -> None:
    plan = planned(classifier(PATCH), white_image(48, 48), fill=own)
    assert list(plan.views) == [own, *others, "opacity"]
    assert plan.fills == [own, *others]
    assert [plan.blocks_of(name) for name in plan.views] == [2, 2, 2, 2, 1]
    low = plan.views["opacity"]
    assert low.parameters.model_dump()["fill"] == "blur"
    assert low.parameters.opacity == 0.3
    assert low.parameters.model_dump()["score"] == "log-odds"


def test_a_view_has_the_states_and_shifts_and_effects_of_an_explanation_with_its_fill() -> None:
    image = noise_image(48, 48)
    view = planned(classifier(PATCH), image, fill="black").views["grey"]
    other = study_of(classifier(PATCH), image, fill="grey")
    for one, two in zip(view.run(), replace(other, blocks=2).run(), strict=True):
        assert np.array_equal(one.effects, two.effects)


@pytest.mark.parametrize(
    ("method_name", "parameters"),
    [
        ("rise", {"estimator": "paper"}),
        ("rise", {"fill": ["black", "blur"]}),
        ("mc-rise", {"colors": ["black", "white"]}),
    ],
)
def test_what_cannot_be_audited_is_refused_with_a_reason(method_name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(RiseError, match="an audit compares"):
        planned(classifier(PATCH), white_image(48, 48), method_name=method_name, **parameters)


def test_scores_that_are_no_numbers_are_a_failure_of_the_model() -> None:
    asked = [0]

    def fails_later(images: Tensor) -> Tensor:
        asked[0] += len(images)
        return PATCH(images) if asked[0] < 1200 else torch.full((len(images),), torch.nan)

    with pytest.raises(RiseError, match="not finite"):
        audited(classifier(fails_later), a_photograph())
