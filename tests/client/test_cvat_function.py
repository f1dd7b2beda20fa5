"""The function for CVAT's SDK: loaded by the real `cvat-cli`, run over tasks of pictures by the SDK's own driver."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from cvat_cli._internal.common import FunctionLoader
from cvat_cli._internal.parsers import parse_function_parameter
from cvat_sdk import models
from cvat_sdk.auto_annotation import BadFunctionError, driver
from cvat_sdk.masks import decode_mask
from PIL import Image

from tests.app.integrations.test_label_studio import STAR, share_on, wait_until_all_models_are_ready
from tests.conftest import SAMPLES, Service
from tests.deployment.files import DOCKER

FILE = DOCKER / "integrations" / "cvat_function.py"


@pytest.fixture(scope="module")
def url(service: Service) -> str:
    wait_until_all_models_are_ready(service.url)
    return service.url


def loaded(url: str, *parameters: str) -> Any:
    """Return a function as `cvat-cli --function-file ... -p ...` loads it."""
    given = dict(parse_function_parameter(text) for text in (f"url=str:{url}", *parameters))
    return FunctionLoader(None, FILE, given).load()


class Task:
    """A task of CVAT's with pictures, which takes note of what is uploaded to it."""

    def __init__(self, label_type: str, names: list[str], *pictures: str) -> None:
        self.uploaded: Any = None
        labels = [
            models.Label(id=100 + at, name=name, type=label_type, attributes=[], sublabels=[])
            for at, name in enumerate(names)
        ]
        self.dataset = SimpleNamespace(labels=labels, samples=[_sample(at, name) for at, name in enumerate(pictures)])
        api = SimpleNamespace(partial_update_annotations=self._upload)
        log = SimpleNamespace(info=lambda *_: None)
        self.client: Any = SimpleNamespace(logger=log, tasks=SimpleNamespace(api=api))

    def _upload(self, _: str, __: int, *, patched_labeled_data_request: Any) -> None:
        self.uploaded = patched_labeled_data_request

    def annotate(self, monkeypatch: pytest.MonkeyPatch, function: Any, **options: Any) -> Any:
        monkeypatch.setattr(driver, "TaskDataset", lambda *_, **__: self.dataset)
        driver.annotate_task(self.client, 1, function, **options)
        return self.uploaded


def _sample(index: int, name: str) -> Any:
    def load() -> Image.Image:
        return Image.open(SAMPLES / name).convert("RGB")

    return SimpleNamespace(frame_name=name, frame_index=index, media=SimpleNamespace(load_image=load))


def labels_of(function: Any) -> list[str]:
    return [label.name for label in function.spec.labels]


def test_saliency_becomes_masks_that_lie_on_the_object(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = loaded(url, "model=str:shapes", "level=float:0.5", "masks=int:1000")
    task = Task("mask", labels_of(function), "star.jpg", "ring.jpg")
    uploaded = task.annotate(monkeypatch, function)
    named = {label.id: label.name for label in task.dataset.labels}
    assert [(shape.frame, named[shape.label_id]) for shape in uploaded.shapes] == [(0, "star"), (1, "ring")]
    assert {shape.type.value for shape in uploaded.shapes} == {"mask"}
    assert share_on(decode_mask(uploaded.shapes[0].points, image_width=480, image_height=360), STAR) > 0.9


def test_what_a_detector_sees_becomes_rectangles_above_the_threshold(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = loaded(url, "model=str:shapes-detector", "show=str:seen")
    task = Task("rectangle", labels_of(function), "several.jpg")
    uploaded = task.annotate(monkeypatch, function, conf_threshold=0.7)
    assert [shape.type.value for shape in uploaded.shapes] == ["rectangle"] * 2
    for shape in uploaded.shapes:
        x0, y0, x1, y1 = shape.points
        assert 0 <= x0 < x1 <= 480
        assert 0 <= y0 < y1 <= 360


def test_the_class_of_a_classifier_becomes_a_tag(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = loaded(url, "model=str:shapes", "show=str:seen")
    task = Task("tag", labels_of(function), "star.jpg")
    uploaded = task.annotate(monkeypatch, function)
    assert (len(uploaded.tags), len(uploaded.shapes)) == (1, 0)
    assert uploaded.tags[0].label_id == 100 + labels_of(function).index("star")


def test_a_picture_without_anything_gets_nothing(url: str) -> None:
    function = loaded(url, "model=str:shapes-detector")
    context: Any = SimpleNamespace(frame_name="blank", conf_threshold=None, conv_mask_to_poly=False)
    assert function.detect(context, Image.new("RGB", (64, 48))) == []


def test_masks_are_not_made_polygons_and_labels_of_another_type_are_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = loaded(url, "model=str:shapes")
    with pytest.raises(ValueError, match="polygon"):
        Task("polygon", labels_of(function), "star.jpg").annotate(monkeypatch, function, conv_mask_to_poly=True)
    with pytest.raises(BadFunctionError, match="has type 'mask'"):
        Task("rectangle", labels_of(function), "star.jpg").annotate(monkeypatch, function)


def test_a_function_has_one_client_for_all_pictures(url: str) -> None:
    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "rise-client"}

    before = threads()
    function = loaded(url, "model=str:shapes-detector", "show=str:seen")
    made = threads() - before
    context: Any = SimpleNamespace(frame_name="blank", conf_threshold=None, conv_mask_to_poly=False)
    for _ in range(2):
        function.detect(context, Image.new("RGB", (64, 48)))
    assert len(made) == 1
    assert threads() - before == made


@pytest.mark.parametrize(
    ("parameters", "words"),
    [(["model=str:nobody"], "shapes-detector"), (["model=str:shapes", "show=str:all"], "saliency or seen")],
)
def test_what_is_not_there_is_refused_with_the_choices(url: str, parameters: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        loaded(url, *parameters)
