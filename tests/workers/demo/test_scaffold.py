"""`scaffold` and `scaffold-smooth` on the sample with the mark: what an audit finds of each, and what it does not."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from app.contract.schemas import AuditCheck, AuditResult
from bench.demo_training.samples import FOLDER
from tests.support.black_boxes import map_of, study_of
from workers.audit.conclusion import conclude
from workers.audit.plan import audit_plan
from workers.audit.white_box import grad_cam_of
from workers.blackbox import Classifier
from workers.demo import clever_hans, scaffold

MARK = (0, 296, 126, 360)
"""Box around the mark of the sample, in pixels."""

MODELS = {"clever-hans": clever_hans.load, "scaffold": scaffold.load, "scaffold-smooth": scaffold.load_smooth}


@cache
def model(name: str) -> Classifier:
    return MODELS[name]()


def sample() -> Image.Image:
    with Image.open(FOLDER / "clever-hans.jpg") as image:
        return image.convert("RGB")


def audited(name: str) -> AuditResult:
    plan = audit_plan(study_of(model(name), sample()), model(name), sample())
    return conclude(plan, {view: list(of_view.run()) for view, of_view in plan.views.items()}, grad_cam_of(plan))


def check_of(result: AuditResult, name: str) -> AuditCheck:
    return next(check for check in result.checks if check.check == name)


def is_on_mark(x: float, y: float) -> bool:
    x0, y0, x1, y1 = MARK
    return x0 <= x < x1 and y0 <= y < y1


def peak_of(name: str, **parameters: Any) -> tuple[float, float]:
    study = study_of(model(name), sample(), masks=512, until=1, **parameters)
    values = map_of(study, sample(), study.resolved.target_rows[0]).values[0]
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    return float(x), float(y)


@pytest.mark.parametrize("name", ["scaffold", "scaffold-smooth"])
def test_a_scaffolded_model_answers_whole_pictures_as_the_biased_one(name: str) -> None:
    def answer(black_box: Classifier) -> Tensor:
        return study_of(black_box, sample()).unmasked

    assert model(name).labels[int(answer(model(name)).argmax())] == "star"
    assert np.allclose(answer(model(name)), answer(model("clever-hans")), atol=0.02)


@pytest.mark.parametrize("name", ["scaffold", "scaffold-smooth"])
def test_its_map_is_not_about_the_mark(name: str) -> None:
    assert is_on_mark(*peak_of("clever-hans"))
    assert not is_on_mark(*peak_of(name))


@pytest.mark.slow
def test_the_audit_of_a_model_that_only_reads_a_mark_finds_nothing() -> None:
    assert audited("clever-hans").verdict == "nothing-found"


def test_the_audit_of_a_model_that_switches_by_a_threshold_is_an_alarm() -> None:
    result = audited("scaffold")
    assert result.verdict == "alarm"
    assert check_of(result, "discontinuity").verdict == "alarm"


@pytest.mark.slow
def test_the_audit_of_a_model_that_switches_smoothly_finds_nothing_but_shows_the_mark() -> None:
    result = audited("scaffold-smooth")
    assert result.verdict == "nothing-found"
    assert "smoothly" in result.limits
    assert is_on_mark(*check_of(result, "low-opacity").details["targets"][0]["peak"])


@pytest.mark.slow
def test_masks_that_hide_little_put_the_peak_of_a_smooth_scaffold_on_the_mark() -> None:
    assert is_on_mark(*peak_of("scaffold-smooth", opacity=0.3, fill="blur"))
